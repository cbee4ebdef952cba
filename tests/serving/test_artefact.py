from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moon.config import RegionsParams, ServingParams
from moon.retrieval.index import ExactIndex
from moon.serving import artefact
from moon.serving.artefact import ProductSearch, Settings

PRODUCTS: list[dict[str, Any]] = [
    {"product_id": "a", "title": "A", "category_path": ["home", "mugs"], "attributes": {"colour": ["red", "blue"]}},
    {"product_id": "b", "title": "B", "category_path": ["home", "lamps"], "attributes": {"colour": ["red"]}},
    {"product_id": "c", "title": "C", "category_path": ["garden"], "attributes": {"size": ["s"]}},
]
VECTORS = np.eye(3, dtype=np.float32)
SETTINGS = Settings(
    model_revision="r1", serving=ServingParams(max_top_k=7), regions=RegionsParams(detector="saliency", pad=0.2)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    artefact.write(tmp_path, SETTINGS, PRODUCTS, VECTORS)
    return tmp_path


def test_settings_come_back(folder: Path) -> None:
    assert artefact.read_settings(folder) == SETTINGS


@pytest.mark.parametrize("is_folder", [False, True])
def test_the_weights_of_the_detector_move_with_the_artefact(tmp_path: Path, is_folder: bool) -> None:
    weights = tmp_path / "weights"
    where = weights / "model.bin" if is_folder else weights
    where.parent.mkdir(exist_ok=True)
    where.write_bytes(b"learned")
    settings = Settings(regions=RegionsParams(detector="learned", weights=str(weights)))
    artefact.write(tmp_path / "made", settings, PRODUCTS, VECTORS)
    where.unlink()
    moved = (tmp_path / "made").rename(tmp_path / "moved")
    found = Path(artefact.read_settings(moved).regions.weights)
    assert (found / "model.bin" if is_folder else found).read_bytes() == b"learned"
    with pytest.raises(ValueError, match="regions.weights: there is no"):
        artefact.write(tmp_path, Settings(regions=RegionsParams(weights=str(tmp_path / "none"))), PRODUCTS, VECTORS)


def test_the_best_come_first_with_what_is_known_of_them(folder: Path) -> None:
    hits = ProductSearch.load(folder, "r1", 3).search(np.array([0.1, 0.9, 0.5], np.float32), 2)
    assert [(hit.id, hit.title, hit.category_path) for hit in hits] == [
        ("b", "B", ["home", "lamps"]),
        ("c", "C", ["garden"]),
    ]
    assert [hit.score for hit in hits] == pytest.approx([0.9, 0.5])


@pytest.mark.parametrize(
    ("category", "attributes", "expected"),
    [
        (["home"], {}, "ab"),
        (["home", "mugs"], {}, "a"),
        (["mugs"], {}, ""),
        ([], {"colour": ["blue", "green"]}, "a"),
        ([], {"colour": ["red"], "size": ["s"]}, ""),
        (["garden"], {"size": ["s", "m"]}, "c"),
        ([], {"colour": []}, ""),
        ([], {}, "abc"),
    ],
)
def test_filters(folder: Path, category: list[str], attributes: dict[str, list[str]], expected: str) -> None:
    hits = ProductSearch.load(folder, "r1", 3).search(VECTORS[0], 10, category, attributes)
    assert sorted(hit.id for hit in hits) == list(expected)


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


def test_an_index_of_unknown_products_is_refused() -> None:
    with pytest.raises(ValueError, match="does not, such as c"):
        ProductSearch(ExactIndex(["a", "b", "c"], VECTORS), PRODUCTS[:2])
