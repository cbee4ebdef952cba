from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from moon.catalog.readers import fetch, pictures, resume
from moon.catalog.readers.resume import SourceChanged
from moon.catalog.store import Catalog
from moon.config import CatalogParams
from moon.steps import import_catalog
from tests.catalog.readers.conftest import Shop, png

KILLS = 8
DRIVER = """
import json, os, random, signal, sys, time
from pathlib import Path
from moon.catalog.readers import fetch
from moon.config import CatalogParams
from moon.steps import import_catalog
from moon.catalog.readers import table
import PIL.Image, aiohttp  # so that a child starts at once

arguments = json.loads(sys.argv[1])
params, out, chance = CatalogParams(**arguments["params"]), Path(arguments["out"]), random.Random(arguments["seed"])
fetch.FIRST_PAUSE = 0.01
partial = out.with_name(f".{out.name}.partial")

def shards():
    return sum(1 for _ in partial.glob("*/part-*.parquet"))

kills = ended = 0
while not ended and kills < arguments["kills"]:
    child, enough = os.fork(), shards() + chance.randint(1, 3)
    if not child:
        import_catalog.run(params=params, out=out)
        os._exit(0)
    while shards() < enough and not ended:
        time.sleep(0.001)
        ended = os.waitpid(child, os.WNOHANG)[0]
    if not ended:
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        kills += os.waitpid(child, 0)[1] == signal.SIGKILL
assert kills > 2, "it could not be killed often enough"
if not ended:
    import_catalog.run(params=params, out=out)
"""


@pytest.fixture
def source(tmp_path: Path, pictures: Path, shop: Shop) -> CatalogParams:
    """A table with pictures near and far, whole and broken, and queries; small shards."""
    shop.pause = 0.01
    lines = []
    for n in range(240):
        near = pictures / f"n{n}.png"
        near.write_bytes(png(n, 64) if n % 9 else b"broken")
        far = [shop.url(f"{n}.png")] * (n % 3 == 0) + [shop.url(f"gone{n}")] * (n % 10 == 0)
        query = {"query": f"mug {n}", "query_image": f"{n % 4}.png"} if n % 2 else {}
        lines.append({"id": f"p{n}", "title": f"Mug {n}" * (n % 7 > 0), "image": [near.name, *far], **query})
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return CatalogParams(
        source=f"table:{tmp_path / 't.jsonl'}",
        images=str(pictures),
        shard_rows=16,
        allow_private_hosts=True,
        fetch_workers=4,
        fetch_retries=1,
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "FIRST_PAUSE", 0.01)


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".*"))


@pytest.mark.parametrize("seed", [1, 2])
def test_an_import_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(
    source: CatalogParams, tmp_path: Path, shop: Shop, seed: int
) -> None:
    import_catalog.run(params=source, out=tmp_path / "whole")
    fetched = sum(shop.asked.values())
    assert len(files(tmp_path / "whole")) > 40 and fetched > 80
    shop.asked.clear()
    arguments = {"params": dataclasses.asdict(source), "out": str(tmp_path / "killed"), "seed": seed, "kills": KILLS}
    subprocess.run([sys.executable, "-c", DRIVER, json.dumps(arguments)], check=True, timeout=120)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    # Only what was on its way when it was killed, or had failed and was not used yet, is fetched again.
    assert sum(shop.asked.values()) <= fetched + KILLS * (source.fetch_workers + 8)
    assert hidden(tmp_path) == []


class Stop(BaseException):
    """What a signal or a full disk may raise anywhere."""


def stopped(source: CatalogParams, out: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Runs an import and stops it when it stores its picture number ``after``."""
    original, count = pictures.PictureSink._store, [0]

    def store(*arguments: object) -> None:
        count[0] += 1
        if count[0] == after:
            raise Stop
        original(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(pictures.PictureSink, "_store", store)
        import_catalog.run(params=source, out=out)


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that are looked at from now on."""
    original, seen = pictures.PictureSink._store, list[str]()

    def store(sink: pictures.PictureSink, image_id: str, *rest: object) -> None:
        seen.append(image_id)
        original(sink, image_id, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures.PictureSink, "_store", store)
    return seen


def test_stored_pictures_are_not_looked_at_again(
    source: CatalogParams, tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    stopped(source, out, monkeypatch, 150)
    assert hidden(tmp_path) == [".out.journal", ".out.partial"] and not out.exists()
    shards = list((tmp_path / ".out.partial/images").glob("part-*.parquet"))
    assert len(shards) > 5
    safe = {image_id for image_id, _ in pictures._stored(tmp_path / ".out.partial/images")}
    seen = decoded(monkeypatch)
    import_catalog.run(params=source, out=out)
    assert not safe & set(seen)
    far = [shop.asked[f"/{image_id.rsplit('/')[-1]}"] for image_id in safe if "://" in image_id]
    assert len(far) > 20 and set(far) == {1}


def test_a_broken_off_line_of_the_journal_is_forgotten(
    source: CatalogParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    import_catalog.run(params=source, out=tmp_path / "whole")
    stopped(source, out, monkeypatch, 150)
    journal = tmp_path / ".out.journal" / "failures.jsonl"
    journal.write_bytes(journal.read_bytes() + b'["half a li')
    stopped(source, out, monkeypatch, 40)
    import_catalog.run(params=source, out=out)
    assert files(out) == files(tmp_path / "whole")


@pytest.mark.parametrize("change", ["source", "picture size", "told"])
def test_an_import_of_something_else_starts_anew(
    source: CatalogParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    out = tmp_path / "out"
    stopped(source, out, monkeypatch, 150)
    seen = decoded(monkeypatch)
    if change == "source":
        path = tmp_path / "t.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
        import_catalog.run(params=source, out=out)
        assert Catalog.open(out).table("products")["product_id"][0].as_py() == "p1"
    else:
        changed = {"picture size": {"max_image_pixels": 10_000}, "told": {"resume": False}}[change]
        import_catalog.run(params=dataclasses.replace(source, **changed), out=out)
    assert "n1.png" in seen
    assert hidden(tmp_path) == []


def test_faster_fetching_may_be_asked_for_in_between(
    source: CatalogParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    stopped(source, out, monkeypatch, 150)
    seen = decoded(monkeypatch)
    import_catalog.run(params=dataclasses.replace(source, fetch_workers=9), out=out)
    assert "n1.png" not in seen


def test_a_source_that_lost_rows_unseen_is_refused_and_the_next_import_is_whole(
    source: CatalogParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    stopped(source, out, monkeypatch, 150)
    path = tmp_path / "t.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:9]))
    with monkeypatch.context() as patch, pytest.raises(SourceChanged, match="rows fewer"):
        recipe = (tmp_path / ".out.journal/recipe").read_text()
        patch.setattr(import_catalog, "recipe_of", lambda *sources: recipe)
        import_catalog.run(params=source, out=out)
    assert hidden(tmp_path) == [] and not out.exists()
    assert import_catalog.run(params=source, out=out).products < 9


def test_two_imports_do_not_write_to_one_folder(source: CatalogParams, tmp_path: Path) -> None:
    with resume.resumable(tmp_path / "out", "a"), pytest.raises(ValueError, match="another import is writing"):
        import_catalog.run(params=source, out=tmp_path / "out")


def test_an_import_that_is_stopped_leaves_the_earlier_catalogue(
    source: CatalogParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = import_catalog.run(params=source, out=out)
    stopped(source, out, monkeypatch, 150)
    assert Catalog.open(out).digest() == first.digest
    assert import_catalog.run(params=source, out=out) == first
