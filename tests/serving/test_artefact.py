from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moon.config import RegionsParams, ServingParams
from moon.retrieval.index import ExactIndex
from moon.serving import artefact
from moon.serving.artefact import Batch, ProductSearch, Settings
from moon.serving.products import Products

PRODUCTS: list[dict[str, Any]] = [
    {"product_id": "a", "title": "A", "category_path": ["home", "mugs"], "attributes": {"colour": ["red", "blue"]}},
    {"product_id": "b", "title": "B", "category_path": ["home", "lamps"], "attributes": {"colour": ["red"]}},
    {"product_id": "c", "title": "C", "category_path": ["garden"], "attributes": {"size": ["s"]}},
]
VECTORS = np.eye(3, dtype=np.float32)
BATCH = Batch(products=PRODUCTS, vectors=VECTORS, pictures=[b"first", b"", b"third"])
SETTINGS = Settings(
    model_revision="r1",
    centroids={"text": (0.5, 0.25, 0.0)},
    serving=ServingParams(max_top_k=7),
    regions=RegionsParams(detector="saliency", pad=0.2),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    artefact.write(tmp_path / "artefact", SETTINGS, [BATCH])
    return tmp_path / "artefact"


def ids(search: ProductSearch, vector: np.ndarray, k: int, *filters: Any) -> list[str]:
    return [hit.id for hit in search.search(vector[None], k, *filters)[0]]


def test_settings_come_back_with_the_name_of_the_content(tmp_path: Path) -> None:
    written = artefact.write(tmp_path / "one", SETTINGS, [BATCH])
    assert artefact.read_settings(tmp_path / "one") == written
    assert (written.serving, written.regions, written.centroids) == (
        SETTINGS.serving,
        SETTINGS.regions,
        SETTINGS.centroids,
    )
    again = artefact.write(tmp_path / "two", SETTINGS, [BATCH])
    other = artefact.write(tmp_path / "two", SETTINGS, [Batch(products=PRODUCTS, vectors=-VECTORS)])
    assert again.index_revision == written.index_revision != other.index_revision


@pytest.mark.parametrize("is_folder", [False, True])
def test_the_weights_of_the_detector_move_with_the_artefact(tmp_path: Path, is_folder: bool) -> None:
    weights = tmp_path / "weights"
    where = weights / "model.bin" if is_folder else weights
    where.parent.mkdir(exist_ok=True)
    where.write_bytes(b"learned")
    settings = Settings(regions=RegionsParams(detector="learned", weights=str(weights)))
    artefact.write(tmp_path / "made", settings, [BATCH])
    where.unlink()
    moved = (tmp_path / "made").rename(tmp_path / "moved")
    found = Path(artefact.read_settings(moved).regions.weights)
    assert (found / "model.bin" if is_folder else found).read_bytes() == b"learned"
    with pytest.raises(ValueError, match="regions.weights: there is no"):
        artefact.write(tmp_path / "made", Settings(regions=RegionsParams(weights=str(tmp_path / "none"))), [BATCH])


def test_the_best_come_first_with_what_is_known_of_them(folder: Path) -> None:
    search = ProductSearch.load(folder, "r1", 3)
    first, second = search.search(np.array([[0.1, 0.9, 0.5], [1, 0, 0]], np.float32), 2)
    assert [(hit.id, hit.title, hit.category_path, hit.has_picture) for hit in first] == [
        ("b", "B", ["home", "lamps"], False),
        ("c", "C", ["garden"], True),
    ]
    assert [hit.score for hit in first] == pytest.approx([0.9, 0.5])
    assert (second[0].id, second[0].score) == ("a", 1.0)


@pytest.mark.parametrize(
    ("category", "attributes", "expected"),
    [
        (["home"], {}, "ab"),
        (["home", "mugs"], {}, "a"),
        (["mugs"], {}, ""),
        ([], {"colour": ["blue", "green"]}, "a"),
        ([], {"colour": ["red"], "size": ["s"]}, ""),
        (["home"], {"colour": ["blue", "red"]}, "ab"),
        (["garden"], {"size": ["s", "m"]}, "c"),
        ([], {"colour": []}, ""),
        ([], {}, "abc"),
    ],
)
def test_filters(folder: Path, category: list[str], attributes: dict[str, list[str]], expected: str) -> None:
    assert sorted(ids(ProductSearch.load(folder, "r1", 3), VECTORS[0], 10, category, attributes)) == list(expected)


def test_a_category_is_not_an_attribute_and_parts_are_not_joined(tmp_path: Path) -> None:
    products = [
        {"product_id": "a", "title": "", "category_path": ["x", "y"], "attributes": {}},
        {"product_id": "b", "title": "", "category_path": ['x", "y'], "attributes": {"x": ["y"]}},
        {"product_id": "c", "title": None, "category_path": None, "attributes": None},
    ]
    artefact.write(tmp_path / "made", SETTINGS, [Batch(products=products, vectors=VECTORS)])
    search = ProductSearch.load(tmp_path / "made", "r1", 3)
    assert ids(search, VECTORS[0], 3, ["x", "y"]) == ["a"]
    assert ids(search, VECTORS[0], 3, ['x", "y']) == ["b"]
    assert ids(search, VECTORS[0], 3, [], {"x": ["y"]}) == ["b"]


def test_pictures_are_those_that_were_given(folder: Path) -> None:
    search = ProductSearch.load(folder, "r1", 3)
    assert [search.picture(one) for one in ("a", "b", "c", "", "d", "ab")] == [b"first", None, b"third", *[None] * 3]


def test_facets_count_products(folder: Path) -> None:
    assert ProductSearch.load(folder, "r1", 3).facets == {
        "categories": [
            {"path": ["garden"], "products": 1},
            {"path": ["home"], "products": 2},
            {"path": ["home", "lamps"], "products": 1},
            {"path": ["home", "mugs"], "products": 1},
        ],
        "attributes": [
            {
                "key": "colour",
                "values": [{"value": "red", "products": 2}, {"value": "blue", "products": 1}],
                "complete": True,
            },
            {"key": "size", "values": [{"value": "s", "products": 1}], "complete": True},
        ],
        "complete": True,
    }


@pytest.fixture(scope="module")
def many() -> list[dict[str, Any]]:
    return [
        {
            "product_id": f"{row:05d}",
            "title": f"title {row}",
            "category_path": [f"c{row % 2}", f"c{row % 50}"],
            "attributes": {"n": [str(row % 7)], "serial": [str(row)]},
        }
        for row in range(5000)
    ]


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_filtered_search_is_search_of_the_filtered(kind: str, many: list[dict[str, Any]], tmp_path: Path) -> None:
    """Against brute force, for filters that few and that many products pass; scores are exact in either index."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(5000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[:20] + np.float32(0.1)

    def batches() -> Iterator[Batch]:
        for start in range(0, 5000, 999):
            yield Batch(products=many[start : start + 999], vectors=vectors[start : start + 999])

    settings = Settings(model_revision="r1", serving=ServingParams(index=kind, max_top_k=20, index_recall=0.99))
    written = artefact.write(tmp_path / "made", settings, batches(), queries)
    assert (written.index, written.index_recall >= 0.99) == (kind, True)
    search = ProductSearch.load(tmp_path / "made", "r1", 16)
    scores = queries @ vectors.T
    for category, attributes, passes in (
        ([], {}, np.ones(5000, bool)),
        (["c1"], {}, np.arange(5000) % 2 == 1),
        (["c1", "c49"], {"n": ["3", "6"]}, (np.arange(5000) % 50 == 49) & np.isin(np.arange(5000) % 7, (3, 6))),
        ([], {"n": ["0", "1", "2", "3", "4", "5"]}, np.arange(5000) % 7 != 6),
        ([], {"serial": ["17", "4711", "none"]}, np.isin(np.arange(5000), (17, 4711))),
    ):
        rows = np.flatnonzero(passes)
        found = search.search(queries, 20, category, attributes)
        wanted = [rows[np.argsort(-scores[query, rows])[:20]] for query in range(20)]
        for query, hits in enumerate(found):
            assert len(hits) == len(wanted[query])
            assert all(passes[int(hit.id)] and hit.title == f"title {int(hit.id)}" for hit in hits)
            assert [hit.score for hit in hits] == pytest.approx([scores[query, int(hit.id)] for hit in hits], abs=1e-5)
        hit_rate = np.mean([len({int(h.id) for h in f} & set(w)) / len(w) for f, w in zip(found, wanted, strict=True)])
        assert hit_rate >= (1 if kind == "exact" else 0.95)
    assert not search.facets["attributes"][1]["complete"]


def test_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="made with model r1, the model loaded is r2; .*moon deploy"):
        ProductSearch.load(folder, "r2", 3)
    with pytest.raises(ValueError, match="3 dimensions, the model 4"):
        ProductSearch.load(folder, "r1", 4)


def test_a_folder_that_is_no_artefact_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no server\.json"):
        artefact.read_settings(tmp_path / "nothing")
    (folder / "server.json").write_text('{"unheard_of": 1}')
    with pytest.raises(ValueError, match="unheard_of"):
        artefact.read_settings(folder)


@pytest.mark.parametrize("part", ["index", "products"])
def test_every_missing_or_cut_file_is_refused_by_name(folder: Path, part: str) -> None:
    for path in sorted((folder / part).iterdir()):
        whole = path.read_bytes()
        for damaged in (whole[:-1], whole[: len(whole) // 2], b""):
            path.write_bytes(damaged)
            if path.suffix == ".json" and damaged == whole[:-1]:
                continue  # only its last line break
            with pytest.raises(ValueError, match=str(folder / part)):
                ProductSearch.load(folder, "r1", 3)
        path.unlink()
        with pytest.raises(ValueError, match=str(folder / part)):
            ProductSearch.load(folder, "r1", 3)
        path.write_bytes(whole)
    assert len(ProductSearch.load(folder, "r1", 3)) == 3


def test_an_index_of_other_products_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="different ids"):
        ProductSearch(ExactIndex(["a", "b", "d"], VECTORS), Products(folder / "products"))


@pytest.mark.parametrize(
    ("batches", "reason"),
    [
        ([], "no chunk"),
        ([BATCH, BATCH], "ascending order of id; a follows c"),
        ([Batch(products=PRODUCTS, vectors=VECTORS[:2])], "a vector for each of 3 products, got 2"),
        ([Batch(products=PRODUCTS, vectors=VECTORS, pictures=[b""])], "a picture for each of 3 products, got 1"),
        ([Batch(products=PRODUCTS, vectors=VECTORS * np.nan)], "must be finite"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_artefact(folder: Path, batches: list[Batch], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        artefact.write(folder, SETTINGS, batches)
    assert len(ProductSearch.load(folder, "r1", 3)) == 3
    assert [path.name for path in folder.parent.iterdir()] == ["artefact"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(ValueError, match="holds something else than a search artefact"):
        artefact.write(tmp_path, SETTINGS, [BATCH])
    assert (tmp_path / "precious").read_text() == "mine"
