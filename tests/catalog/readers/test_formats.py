"""What holds for every reader of a public format."""

from __future__ import annotations

import json
import multiprocessing
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moon.catalog.readers import READERS
from moon.catalog.readers.sink import CatalogSink
from moon.catalog.store import Catalog
from moon.config import CatalogParams
from moon.steps import import_catalog
from tests.catalog.readers import (
    test_amazon,
    test_fashion200k,
    test_m5product,
    test_marqo_gs,
    test_mbe,
    test_mbe2,
    test_product1m,
)
from tests.catalog.readers.fixtures import picture, write_lines

ITEMS = 12


def mbe(source: Path) -> None:
    write_lines(source / "test.jsonl.gz", [test_mbe.sample(n, query_text=f"q{n}") for n in range(ITEMS)])


def mbe2(source: Path) -> None:
    rows = [test_mbe2.triplet("q", n, (n + 5) % ITEMS) for n in range(ITEMS)]
    write_lines(source / "train.jsonl", rows)
    for number in range(ITEMS):
        picture(source / f"{number}.jpg")


def m5product(source: Path) -> None:
    items = {str(n): test_m5product.item(n, str(n % 3)) for n in range(ITEMS)}
    (source / "test_id_label.json").write_text(json.dumps(items), encoding="utf-8")
    (source / "query_image_ids.json").write_text(json.dumps([str(n) for n in range(ITEMS - 4, ITEMS)]))


def product1m(source: Path) -> None:
    gallery = [test_product1m.line(n, f"l{n % 3}") for n in range(ITEMS - 4)]
    write_lines(source / "product1m_gallery_ossurl_v2.txt", gallery)
    queries = [test_product1m.line(n, "l0", "l2") for n in range(ITEMS - 4, ITEMS)]
    write_lines(source / "product1m_test_ossurl_v2.txt", queries)


def amazon(source: Path) -> None:
    rows = [test_amazon.meta(n, images=[test_amazon.photo(f"images/{n}.jpg")]) for n in range(ITEMS)]
    write_lines(source / "meta_x.jsonl.gz", rows)
    write_lines(source / "x.jsonl.gz", [test_amazon.review(n, f"images/{n}.jpg") for n in range(ITEMS)])


def marqo_gs(source: Path) -> None:
    pairs = [test_marqo_gs.pair(f"q{n % 4}", n, n + 1, image_local=f"{n}.jpg") for n in range(ITEMS)]
    test_marqo_gs.write(source / "query_0_product_id_0.csv", pairs)


def fashion200k(source: Path) -> None:
    lines = [test_fashion200k.line(n // 2, n % 2) for n in range(ITEMS)]
    write_lines(source / "labels/dress_test_detect_all.txt", lines)
    for text in lines:
        picture(source / text.partition("\t")[0])


SOURCES: dict[str, Callable[[Path], None]] = {
    "amazon-review-photos": amazon,
    "amazon-reviews": amazon,
    "fashion200k": fashion200k,
    "m5product": m5product,
    "marqo-gs": marqo_gs,
    "mbe": mbe,
    "mbe2": mbe2,
    "product1m": product1m,
}


def source_of(kind: str, root: Path) -> CatalogParams:
    for number in range(ITEMS):
        picture(root / f"source/images/{number}.jpg", f"hsl({number * 30}, 80%, 50%)")
    SOURCES[kind](root / "source")
    return CatalogParams(source=f"{kind}:{root / 'source'}", shard_rows=2)


class Stopped(BaseException):
    """As a kill."""


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("calls", [3, 9, 14])
def test_an_import_that_was_stopped_goes_on_to_the_same_bytes(
    tmp_path: Path, kind: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = source_of(kind, tmp_path)
    whole = import_catalog.run(params=params, out=tmp_path / "whole")
    left = calls
    add_image = CatalogSink.add_image

    def stops(self: CatalogSink, *args: Any, **more: Any) -> str:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped
        return add_image(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(CatalogSink, "add_image", stops)
        try:
            import_catalog.run(params=params, out=tmp_path / "parts")
        except Stopped:
            assert not (tmp_path / "parts").exists()
    assert left < 0 or calls > 3
    import_catalog.run(params=params, out=tmp_path / "parts")
    assert whole.products and Catalog.open(tmp_path / "parts").digest() == Catalog.open(tmp_path / "whole").digest()


@pytest.mark.parametrize("kind", SOURCES)
def test_a_folder_without_the_format_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "source").mkdir()
    for place in ("source", "none"):
        with pytest.raises(ValueError, match="is not in the .* format"):
            import_catalog.run(params=CatalogParams(source=f"{kind}:{tmp_path / place}"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["x.jpg", "a:b"])
)
ODD = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))
ROWS_OF: dict[str, tuple[str, dict[str, Any]]] = {
    "amazon-reviews": ("meta_x.jsonl", test_amazon.meta(0)),
    "mbe": ("train.jsonl", test_mbe.sample(0, query_text="q", query_image="", query_id="1")),
    "mbe2": ("train.jsonl", test_mbe2.triplet("q", 0, 1)),
}


@pytest.mark.parametrize("kind", ROWS_OF)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_odd_values_are_read_or_rejected(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    name, good = ROWS_OF[kind]
    odd = st.lists(st.tuples(st.sampled_from(sorted(good)), ODD), min_size=1, max_size=3).map(dict)
    rows = [good | change for change in data.draw(st.lists(odd, min_size=1, max_size=8))]
    source = tmp_path / "odd"
    write_lines(source / name, [json.dumps(row) for row in [good, *rows]])
    picture(source / "x.jpg")
    with CatalogSink(tmp_path / "out", max_image_pixels=1000, shard_rows=64) as sink:
        READERS[kind].read(source, source, {}, sink)
    catalog = Catalog.open(tmp_path / "out")
    tables = Counter(row["table"] for row in catalog.rows("rejected"))
    assert tables["products"] + catalog.table("products").num_rows >= (1 if kind == "mbe2" else 1 + len(rows))


LONG = "x" * 20_000
ROWS = 600


def long_mbe(source: Path) -> None:
    write_lines(source / "test.jsonl.gz", (test_mbe.sample(n, doc_title=LONG) for n in range(ROWS)))


def long_m5product(source: Path) -> None:
    items = {str(n): test_m5product.item(n, title=LONG) for n in range(ROWS)}
    (source / "test_id_label.json").write_text(json.dumps(items), encoding="utf-8")


def long_product1m(source: Path) -> None:
    lines = [test_product1m.line(n, f"l{n}", title=LONG) for n in range(ROWS)]
    write_lines(source / "product1m_gallery_ossurl_v2.txt", lines)


def long_amazon(source: Path) -> None:
    write_lines(source / "meta_x.jsonl", (test_amazon.meta(n, title=LONG) for n in range(ROWS)))


def long_marqo_gs(source: Path) -> None:
    test_marqo_gs.write(
        source / "query_0_product_id_0.csv", [test_marqo_gs.pair("q", n, title=LONG) for n in range(ROWS)]
    )


def long_fashion200k(source: Path) -> None:
    write_lines(source / "labels/dress_test_detect_all.txt", (test_fashion200k.line(n, 0, LONG) for n in range(ROWS)))


@pytest.fixture(scope="module")
def alone() -> Iterator[Pool]:
    """A process in which nothing else allocates."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


def peak_of_reading(kind: str, source: Path, out: Path) -> int:
    tracemalloc.start()
    try:
        with CatalogSink(out, max_image_pixels=1000, shard_rows=64) as sink:
            READERS[kind].read(source, source, {}, sink)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("amazon-reviews", long_amazon),
        ("fashion200k", long_fashion200k),
        ("m5product", long_m5product),
        ("marqo-gs", long_marqo_gs),
        ("mbe", long_mbe),
        ("product1m", long_product1m),
    ],
)
def test_memory_does_not_grow_with_the_source(
    alone: Pool, tmp_path: Path, kind: str, write: Callable[[Path], None]
) -> None:
    """12 megabytes of rows whose pictures are all missing."""
    alone.apply(import_catalog.run, (), {"params": source_of(kind, tmp_path / "small"), "out": tmp_path / "warm"})
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    write(source)
    peak = alone.apply(peak_of_reading, (kind, source, tmp_path / "out"))
    assert Catalog.open(tmp_path / "out").table("rejected").num_rows >= 2 * ROWS
    assert peak < 5_000_000
