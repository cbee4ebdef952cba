from __future__ import annotations

from pathlib import Path

import pytest

from moon.catalog.store import Catalog
from moon.config import RenderParams
from moon.steps import fetch, origins, outcome, render
from moon.steps.provenance import GIT_SHA, git_sha
from tests.catalog.dvc_repository import SHARD, Repository, git, write_catalog


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    made.snapshot(write_catalog(tmp_path / "drop", 5), tag="v1")
    return made


def test_a_folder_beside_its_dvc_file_is_named_by_its_commit(repository: Repository) -> None:
    (repository.folder / "later.txt").write_text("later")
    git(repository.folder, "add", "later.txt")
    git(repository.folder, "commit", "--quiet", "-m", "Later")
    data = repository.folder / "data"
    found = origins.of_catalog(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository.folder)
        assert origins.of_catalog(Path("data")) == found
    assert found == {
        "data": Catalog.open(data).digest(),
        "source": str(repository.folder),
        "dvc": git(repository.folder, "rev-parse", "v1^{commit}"),
        "path": "data",
        "md5": git(repository.folder, "show", "v1:data.dvc").split("md5: ")[1].split()[0],
    }
    git(repository.folder, "remote", "add", "origin", "https://me:secret@git.example.com/data.git")
    assert origins.of_catalog(data)["source"] == "https://git.example.com/data.git"


def test_what_has_changed_since_has_no_commit(repository: Repository) -> None:
    data, pointer = repository.folder / "data", repository.folder / "data.dvc"
    (data / "README.md").write_text("changed")
    assert origins.of_catalog(data).keys() == {"data"}
    repository.snapshot(data)
    assert "dvc" in origins.of_catalog(data)
    pointer.write_text(pointer.read_text() + "desc: not committed\n")
    assert origins.of_catalog(data).keys() == {"data"}


def test_a_fetched_catalogue_knows_where_it_came_from_until_it_changes(repository: Repository, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fetched = fetch.run(source=repository.folder, revision="v1", path="data", out=out)
    assert origins.of_catalog(out) == {
        "data": fetched.digest,
        "source": str(repository.folder),
        "dvc": fetched.revision,
        "path": "data",
        "md5": fetched.md5,
    }
    (out / SHARD).unlink()
    assert origins.of_catalog(out).keys() == {"data"}


def test_a_made_catalogue_is_named_by_its_digest(tmp_path: Path) -> None:
    result = render.run(params=RenderParams(products=16, interactions=32, image_size=32), out=tmp_path / "data")
    assert origins.of_catalog(tmp_path / "data") == {"data": result.digest}


def test_the_code_is_named_by_its_image_or_its_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = git_sha()
    assert origins.of_code().get("git", "").removesuffix("-dirty") == checkout
    monkeypatch.setenv(GIT_SHA, "f" * 40)
    git_sha.cache_clear()
    try:
        assert origins.of_code() == {"git": "f" * 40}
    finally:
        git_sha.cache_clear()


def test_a_model_that_was_not_trained_here_tells_nothing(tmp_path: Path) -> None:
    assert origins.of_training(tmp_path / "model") == {}
    assert origins.revision_of(tmp_path / "model") == ""
    (tmp_path / outcome.METRICS).write_text("{")
    assert origins.of_training(tmp_path / "model") == {}
