from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from moon.serving import artefact
from moon.serving.artefact import Batch, Settings
from moon.serving.hot_swap import LiveSearch

SETTINGS = Settings(model_revision="r1")


def write(folder: Path, name: str, products: int = 3, settings: Settings = SETTINGS) -> str:
    """An artefact whose products all begin with a name; returns its revision."""
    rows = [
        {"product_id": f"{name}{row:02d}", "title": name, "category_path": [name], "attributes": {}}
        for row in range(products)
    ]
    batch = Batch(products=rows, vectors=np.eye(3, dtype=np.float32)[np.arange(products) % 3])
    return artefact.write(folder, settings, [batch]).index_revision


def names(live: LiveSearch) -> set[str]:
    return {hit.title for hit in live.current.search(np.eye(1, 3, dtype=np.float32), 10)[0]}


def metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "served", "old")
    return tmp_path / "served"


def test_a_new_artefact_is_taken_once(folder: Path) -> None:
    live = LiveSearch(folder, "r1", 3)
    before = live.current.revision
    assert not live.refresh()
    revision = write(folder, "new", 5)
    assert live.refresh() and not live.refresh()
    assert (names(live), len(live.current), live.current.revision) == ({"new"}, 5, revision)
    assert metric("moon_index_products") == 5
    assert (metric("moon_index_info", revision=revision), metric("moon_index_info", revision=before)) == (1, None)


def test_whoever_began_with_the_old_one_ends_with_it(folder: Path) -> None:
    live = LiveSearch(folder, "r1", 3)
    begun = live.current
    write(folder, "new")
    assert live.refresh()
    assert {hit.title for hit in begun.search(np.eye(1, 3, dtype=np.float32), 3)[0]} == {"old"}


def test_a_link_may_lead_to_the_artefact(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "versions"
    root.mkdir()
    (root / "current").symlink_to(folder)
    live = LiveSearch(root, "r1", 3)
    write(root / "2", "new")
    assert not live.refresh()
    (root / "next").symlink_to(root / "2")
    (root / "next").rename(root / "current")
    assert live.refresh()
    assert names(live) == {"new"}
    shutil.rmtree(folder)  # the old one may go as soon as the new one is taken
    assert names(live) == {"new"}


@pytest.mark.parametrize("fault", ["model", "dimensions", "cut", "no settings"])
def test_one_that_cannot_be_used_leaves_the_old_one_and_is_tried_again(
    fault: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    live = LiveSearch(folder, "r1", 3)
    failed = metric("moon_index_swaps_total", outcome="failed") or 0
    if fault == "dimensions":
        rows = [{"product_id": "x", "title": "", "category_path": [], "attributes": {}}]
        artefact.write(folder, SETTINGS, [Batch(products=rows, vectors=np.ones((1, 4), np.float32))])
    else:
        write(folder, "new", settings=Settings(model_revision="r2" if fault == "model" else "r1"))
    if fault == "cut":
        whole = (folder / "products" / "products.arrow").read_bytes()
        (folder / "products" / "products.arrow").write_bytes(whole[:-20])
    if fault == "no settings":
        (folder / "server.json").rename(folder / "aside")
    assert not live.refresh()
    assert names(live) == {"old"}
    if fault == "no settings":  # being copied: settings come last
        assert not caplog.records
        (folder / "aside").rename(folder / "server.json")
        assert live.refresh() and names(live) == {"new"}
        return
    assert metric("moon_index_swaps_total", outcome="failed") == failed + 1
    assert "is not taken" in caplog.text and live.current.revision in caplog.text
    if fault == "cut":
        (folder / "products" / "products.arrow").write_bytes(whole)
        assert live.refresh() and names(live) == {"new"}
    write(folder, "newer")
    assert live.refresh() and names(live) == {"newer"}


def test_a_failure_is_not_repeated_at_every_look(folder: Path) -> None:
    live = LiveSearch(folder, "r1", 3, poll_seconds=5)
    failed = metric("moon_index_swaps_total", outcome="failed") or 0
    write(folder, "new", settings=Settings(model_revision="r2"))
    assert [live.refresh() for _ in range(4)] == [False] * 4
    assert metric("moon_index_swaps_total", outcome="failed") == failed + 1


def test_the_first_artefact_must_be_usable(folder: Path) -> None:
    with pytest.raises(ValueError, match="made with model r1"):
        LiveSearch(folder, "r2", 3)


def test_swaps_under_load_mix_nothing(folder: Path) -> None:
    """Searches go on while artefacts of different sizes come; every answer is of one artefact alone."""
    live = LiveSearch(folder, "r1", 3, poll_seconds=0.005)
    live.start()
    stop = threading.Event()

    def ask() -> int:
        asked = 0
        while not stop.is_set():
            products = live.current
            hits = products.search(np.eye(1, 3, dtype=np.float32), 50)[0]
            assert len({hit.title for hit in hits}) == 1 and len(hits) == len(products)
            assert all(hit.id.startswith(hit.title) for hit in hits)
            asked += 1
        return asked

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            for turn in range(12):
                revision = write(folder, f"v{turn}-", 3 + turn)
                until = time.monotonic() + 30
                while live.current.revision != revision and time.monotonic() < until:
                    time.sleep(0.002)
                assert live.current.revision == revision
        finally:
            stop.set()
    assert all(one.result() for one in asking)
    live.close()
    write(folder, "late")
    time.sleep(0.05)
    assert names(live) == {"v11-"}
