from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moon.config import RegionsParams, ServingParams
from moon.items import ItemSource
from moon.model import Embedder
from moon.serving import artefact
from moon.serving.artefact import ProductSearch
from moon.serving.building import build
from moon.serving.products import thumbnail
from moon.vision.decode import decode, encode_jpeg
from moon.vision.resize import Picture


def size(jpeg: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(jpeg)).size


@pytest.mark.parametrize("longest", [48, 0])
def test_an_artefact_is_of_the_whole_catalogue(
    longest: int, tiny_model: Path, tiny_catalog: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    embedder, source = Embedder.load(tiny_model), ItemSource(tiny_catalog, tiny_regions)
    purchases = source.purchases("test")
    params = ServingParams(thumbnail_pixels=longest, max_top_k=9)
    settings = build(embedder, source, purchases, params, RegionsParams(), tmp_path / "made")
    assert artefact.read_settings(tmp_path / "made") == settings
    assert (settings.model_revision, settings.serving.max_top_k) == (embedder.revision, 9)
    search = ProductSearch.load(tmp_path / "made", embedder.revision, embedder.dim)
    ids = sorted(source.products)
    assert len(search) == len(ids)
    for product_id in ids[::8]:
        item = source.product(product_id)
        best = search.search(embedder.embed([item]), 1)[0][0]
        assert best.score == pytest.approx(1, abs=1e-5)
        picture = search.picture(product_id)
        assert best.has_picture == (longest > 0) == (picture is not None)
        assert picture is None or max(size(picture)) == 48
    both = [row for row in purchases if row["query_text"] and row["query_image_id"]]
    assert settings.centroids.keys() == {"text", "image", "multimodal"}
    mean = embedder.embed([source.query(row) for row in both]).mean(axis=0)
    np.testing.assert_allclose(settings.centroids["multimodal"], mean, atol=1e-5)


def test_without_purchases_there_is_no_reference(
    tiny_model: Path, tiny_catalog: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    source = ItemSource(tiny_catalog, tiny_regions)
    settings = build(Embedder.load(tiny_model), source, [], ServingParams(), RegionsParams(), tmp_path / "made")
    assert settings.centroids == {}


def test_a_thumbnail_keeps_the_shape_and_stands_upright() -> None:
    pixels = np.zeros((300, 900, 3), np.uint8)
    pixels[:, :450] = 255
    image = Image.fromarray(pixels)
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(turned, "JPEG", exif=exif)
    for data in (encode_jpeg(image), turned.getvalue()):
        small = thumbnail(Picture(data), 320)
        assert size(small) == (320, 107)
        row = np.asarray(decode(small))[50, :, 0]
        assert row[:150].min() > 240 and row[170:].max() < 15
    assert size(thumbnail(Picture(encode_jpeg(image)), 2000)) == (900, 300)
    assert size(thumbnail(Picture(encode_jpeg(image)), 2)) == (2, 1)
