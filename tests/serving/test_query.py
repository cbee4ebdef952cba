from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from moon.config import ServingParams
from moon.model import Item, MoonProcessor
from moon.serving.errors import RequestError
from moon.serving.query import Query, QueryReader, TakesLong, image_bytes
from moon.vision.resize import Picture, fitted, jpeg_size
from tests.serving.test_decoding import jpeg

SIZES = st.tuples(st.integers(2, 4000), st.integers(2, 4000))


@pytest.fixture(scope="module")
def processor(tiny_model: Path) -> MoonProcessor:
    processor: MoonProcessor = MoonProcessor.from_pretrained(tiny_model)
    return processor


@pytest.fixture(scope="module")
def reader(processor: MoonProcessor) -> QueryReader:
    return QueryReader(processor, ServingParams(max_text_chars=400, max_image_bytes=50_000), "revision")


@given(SIZES, SIZES)
def test_pictures_enter_as_they_were_rendered(
    reader: QueryReader, processor: MoonProcessor, photo: tuple[int, int], crop: tuple[int, int]
) -> None:
    sizes = fitted(photo, processor.image_pixels, processor.side), fitted(crop, processor.crop_pixels, processor.side)
    pictures = [np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8) for size in sizes]
    encoded = reader.encode(reader.open(Query("a", jpeg(8, 8))), pictures)
    offline = processor.encode(
        Item(title="a", images=(Image.fromarray(pictures[0]),), crops=(Image.fromarray(pictures[1]),))
    )
    assert (encoded.input_ids, encoded.token_types) == (offline.input_ids, offline.token_types)
    for shown, given_, same in zip(encoded.pictures, pictures, offline.pictures, strict=True):
        np.testing.assert_array_equal(shown, given_)
        np.testing.assert_array_equal(shown, same)


@given(st.text(min_size=1, max_size=100))
def test_a_text_is_encoded_at_once_or_refused(reader: QueryReader, text: str) -> None:
    try:
        opened = reader.open(Query(text))
    except RequestError as error:
        assert error.code == "empty"
    else:
        assert opened.encoded is not None and opened.tokens == len(opened.encoded) > 0


@given(SIZES)
def test_the_length_of_a_photo_is_known_about_before_it_is_decoded(
    reader: QueryReader, processor: MoonProcessor, size: tuple[int, int]
) -> None:
    """Only the shape of the core crop is not; its budget bounds it."""
    about = processor.length(Item(title="a"), [size], [size])
    most = processor.crop_pixels // 28**2 + 2
    for crop in ((size[0], max(size[1] // 3, 2)), (max(size[0] // 3, 2), size[1])):
        assert abs(processor.length(Item(title="a"), [size], [crop]) - about) <= most


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (Query(), "empty"),
        (Query("  \n"), "empty"),
        (Query("x" * 401), "text_too_long"),
        (Query("x", b"\xff\xd8\xff\xe0 no picture"), "not_an_image"),
        (Query("x", bytes(50_001)), "too_many_bytes"),
        (Query("x", "%%%"), "bad_base64"),
        (Query("x", "http://example.com/a.jpg"), "url_not_allowed"),
    ],
)
def test_what_is_over_a_limit_is_refused_before_it_is_decoded(reader: QueryReader, query: Query, code: str) -> None:
    with pytest.raises(RequestError) as refused:
        reader.open(query)
    assert refused.value.code == code


@pytest.mark.parametrize("head", ["", "data:image/jpeg;base64,"])
def test_base64_may_be_broken_into_lines(head: str) -> None:
    whole = jpeg(40, 30)
    lines = base64.encodebytes(whole).decode()
    assert lines.count("\n") > 2
    assert image_bytes(head + lines) == image_bytes(head + lines.replace("\n", "")) == whole


def test_only_a_jpeg_that_libjpeg_reads_is_opened_quickly(reader: QueryReader) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "PNG")
    for slow in (buffer.getvalue(), b"\xff\xd8\xff junk", jpeg(1, 9)):
        with pytest.raises(TakesLong):
            reader.open(Query("a", slow), quick=True)
    assert reader.open(Query("a", buffer.getvalue())).tokens == reader.open(Query("a", jpeg(40, 30)), quick=True).tokens


def test_a_header_made_to_keep_pillow_busy_is_read_in_time(reader: QueryReader) -> None:
    """By libjpeg-turbo, whose size of it is that of Pillow."""
    whole = jpeg(40, 30)
    hostile = whole[:2] + b"\xff\xfe\x00\x02" * 10_000 + whole[2:]
    assert reader.open(Query("a", hostile), quick=True).tokens == reader.open(Query("a", whole)).tokens
    assert jpeg_size(hostile) == Picture(hostile).size == (40, 30)
