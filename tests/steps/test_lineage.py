from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest

from moon.catalog.store import Catalog
from moon.cli import main
from moon.config import ServingParams
from moon.model.embedder import model_revision
from moon.steps import fetch, initialise, lineage, outcome, register
from moon.steps.gate import GateResult
from moon.steps.register import RegisterResult
from tests.catalog.dvc_repository import SHARD, Repository, write_catalog
from tests.conftest import TINY_MODEL

RETRIEVAL = {"retrieval": {"trained": {}, "untrained": {}}}


class House:
    """A repository with two versions of data, and a registry with a model of each; the second goes on from it."""

    def __init__(self, root: Path) -> None:
        self.root, self.registry, self.repository = root, root / "registry", Repository(root)
        for tag, size in (("one", 5), ("two", 3)):
            self.repository.snapshot(write_catalog(root / tag, size), tag)
        self.repository.forget()
        self.first = self.register("one", "000", "111")
        self.second = self.register("two", "111", "222")

    def register(self, tag: str, start: str, revision: str) -> RegisterResult:
        """Fetches a version of the data, and registers a model of it."""
        root, data = self.root / f"run-{tag}", self.root / f"run-{tag}" / "fetch"
        fetched = fetch.run(source=self.repository.folder, revision=tag, path="data", out=data)
        model = root / "train" / "model"
        model.mkdir(parents=True)
        (model / "model.safetensors").write_text(revision)
        trained = {"data": fetched.digest, "start": start, "revision": revision}
        (model.parent / outcome.METRICS).write_text(json.dumps(trained))
        (root / "evaluate").mkdir()
        (root / "evaluate" / outcome.METRICS).write_text(json.dumps(RETRIEVAL))
        outcome.save(root / "gate", GateResult(passed=True, reasons=[]))
        return register.run(
            model=model,
            evaluation=root / "evaluate",
            gate=root / "gate",
            registry=self.registry,
            lineage={"recipe": "abc", "run": tag},
            params=ServingParams(),
            out=root / "register",
            catalog=data,
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


@pytest.fixture
def house(built: House, tmp_path: Path) -> Iterator[House]:
    """One whose registry a test may spoil."""
    backup = shutil.copytree(built.registry, tmp_path / "registry")
    yield built
    shutil.rmtree(built.registry)
    shutil.copytree(backup, built.registry)


def test_a_model_leads_back_to_the_files_of_all_its_ancestors(house: House) -> None:
    result = lineage.run(model="moon", registry=house.registry, verify=True)
    assert result.problems == []
    assert [(one.version, one.digest) for one in result.chain] == [
        ("v2", house.second.digest),
        ("v1", house.first.digest),
    ]
    for link, tag in zip(result.chain, ("two", "one"), strict=True):
        assert link.facts["dvc"] and link.facts["run"] == tag
        assert link.facts["data"] == Catalog.open(house.root / tag).digest()
        drop = {str(path.relative_to(house.root / tag)) for path in (house.root / tag).rglob("*") if path.is_file()}
        assert link.files.keys() == drop
        assert all(len(md5) == 32 for md5 in link.files.values())
    assert SHARD in result.chain[1].files
    assert lineage.run(model="moon/v1", registry=house.registry).chain == result.chain[1:]


def test_a_copy_of_the_folder_tells_the_same(house: House, tmp_path: Path) -> None:
    mounted = shutil.copytree(Path(urlparse(house.second.uri).path), tmp_path / "mnt")
    named = lineage.run(model="moon/v2", registry=house.registry)
    assert lineage.run(model=str(mounted), registry=house.registry, verify=True) == named
    alone = lineage.run(model=str(mounted), registry=tmp_path / "nowhere")
    assert alone.chain[0] == named.chain[0]
    assert (alone.chain[1].version, alone.chain[1].digest) == ("v1", house.first.digest)
    assert "no version 'v1'" in alone.problems[0]


def test_changed_bytes_are_found(house: House) -> None:
    weights = Path(urlparse(house.first.uri).path) / "model.safetensors"
    weights.write_text("other")
    assert lineage.run(model="moon", registry=house.registry).problems == []
    found = lineage.run(model="moon", registry=house.registry, verify=True).problems
    assert len(found) == 1 and f"it was registered with {house.first.digest}" in found[0]


def test_a_replaced_parent_is_found(house: House) -> None:
    entry = house.registry / "moon" / "v1" / "version.json"
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "digest": "0" * 64}))
    (found,) = lineage.run(model="moon", registry=house.registry).problems
    assert found == f"moon/v1 has digest {'0' * 64}, its descendant names {house.first.digest}"


def test_a_parent_that_was_removed_is_a_gap(house: House) -> None:
    shutil.rmtree(house.registry / "moon" / "v1")
    result = lineage.run(model="moon", registry=house.registry)
    assert [one.version for one in result.chain] == ["v2", "v1"]
    assert "no version 'v1'" in result.problems[0]


def test_data_that_cannot_be_had_is_a_gap_and_the_rest_is_told(house: House, tmp_path: Path) -> None:
    result = lineage.run(model="moon/v1", registry=house.registry, remote=str(tmp_path / "nowhere"))
    assert result.chain[0].facts["dvc"] and not result.chain[0].files
    assert "cannot be had" in result.problems[0]


def test_a_folder_that_holds_other_data_now_is_a_gap(house: House, tmp_path: Path) -> None:
    folder = write_catalog(tmp_path / "folder", 5)
    digest = Catalog.open(folder).digest()
    facts = {"data": digest, "source": str(folder)}
    model = tmp_path / "model"
    model.mkdir()
    (model / "lineage.json").write_text(json.dumps(facts))
    (link,) = lineage.run(model=str(model), registry=house.registry).chain
    assert SHARD in link.files and link.problems == []
    (folder / SHARD).unlink()
    (link,) = lineage.run(model=str(model), registry=house.registry).chain
    assert not link.files and "holds data" in link.problems[0]


def test_what_tells_nothing_is_refused(house: House, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no lineage.json.*moon register"):
        lineage.run(model=str(tmp_path), registry=house.registry)
    with pytest.raises(ValueError, match="no model 'other'"):
        lineage.run(model="other", registry=house.registry)
    (tmp_path / "lineage.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        lineage.run(model=str(tmp_path), registry=house.registry)


def test_the_command_draws_the_chain_and_fails_where_it_is_broken(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["lineage", "moon", "--registry", str(house.registry)]
    assert main([*asked, "--verify"]) == 0
    drawn = capsys.readouterr().out
    links = lineage.run(model="moon", registry=house.registry).chain
    for link in links:
        assert link.digest in drawn and link.facts["dvc"] in drawn and link.files["README.md"] in drawn
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"chain": [dataclasses.asdict(link) for link in links]}
    shutil.rmtree(house.registry / "moon" / "v1")
    assert main(asked) == 0
    assert "gap: no version 'v1'" in capsys.readouterr().out
    assert main([*asked, "--verify"]) == 1
    assert "the lineage has gaps" in capsys.readouterr().err


def test_a_model_that_goes_on_from_a_registered_one_starts_with_its_revision(
    tiny_catalog: Path, tiny_model: Path, tmp_path: Path
) -> None:
    params = dataclasses.replace(TINY_MODEL, base=str(tiny_model))
    started = initialise.run(catalog=tiny_catalog, params=params, out=tmp_path)
    assert started.revision == model_revision(tiny_model)
