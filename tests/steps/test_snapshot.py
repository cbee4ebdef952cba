from __future__ import annotations

from pathlib import Path

import pytest

from moon.catalog.dvc_folder import open_folder, transfer
from moon.catalog.store import Catalog
from moon.steps import outcome, snapshot
from tests.catalog.dvc_repository import SHARD, Repository, git, write_catalog


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def commits(repository: Repository) -> list[str]:
    return git(repository.folder, "log", "--format=%H").split()


def test_a_drop_becomes_a_version_that_can_be_fetched(repository: Repository, tmp_path: Path) -> None:
    drop = write_catalog(tmp_path / "drop", 5)
    made = repository.snapshot(drop, tag="v1")
    assert (made.changed, made.pushed, made.new_files, made.gone_files) == (True, True, made.files, 0)
    assert made.digest == Catalog.open(drop).digest() == Catalog.open(repository.folder / "data").digest()
    assert made.commit == commits(repository)[0] == git(repository.folder, "rev-parse", "v1^{commit}")
    assert "5 products" in git(repository.folder, "log", "-1", "--format=%s")
    assert git(repository.folder, "status", "--porcelain") == ""
    assert outcome.read(tmp_path / "snapshot")["commit"] == made.commit
    repository.forget()
    with open_folder(str(repository.folder), "v1", "data") as folder:
        assert folder.md5 == made.md5
        transfer(folder, folder.files, tmp_path / "out")
    assert Catalog.open(tmp_path / "out").digest() == made.digest


def test_the_same_content_is_the_same_version(repository: Repository, tmp_path: Path) -> None:
    first = repository.snapshot(write_catalog(tmp_path / "drop", 5), tag="v1")
    again = repository.snapshot(write_catalog(tmp_path / "elsewhere", 5), tag="v1")
    assert (again.commit, again.md5, again.changed, again.new_files) == (first.commit, first.md5, False, 0)
    assert len(commits(repository)) == 2


def test_what_changed_is_counted_and_an_old_version_comes_back(repository: Repository, tmp_path: Path) -> None:
    first = repository.snapshot(write_catalog(tmp_path / "first", 5))
    second = repository.snapshot(write_catalog(tmp_path / "second", 4))
    assert (second.new_files, second.gone_files) == (0, 1)  # the shard with the fifth product
    third = repository.snapshot(tmp_path / "first")
    assert (third.md5, third.digest, third.changed) == (first.md5, first.digest, True)
    assert len(set(commits(repository))) == 4


def test_a_folder_changed_in_place_is_versioned_where_it_is(repository: Repository, tmp_path: Path) -> None:
    data = write_catalog(repository.folder / "data", 5)
    first = repository.snapshot(data)
    (data / SHARD).unlink()
    second = repository.snapshot(data)
    assert (second.gone_files, second.changed) == (1, True)
    assert second.digest != first.digest


def test_other_changes_stay_out_of_the_commit(repository: Repository, tmp_path: Path) -> None:
    (repository.folder / "staged.txt").write_text("staged")
    git(repository.folder, "add", "staged.txt")
    (repository.folder / ".dvcignore").write_text("# changed\n")
    repository.snapshot(write_catalog(tmp_path / "drop", 5))
    assert git(repository.folder, "show", "--name-only", "--format=").split() == [".gitignore", "data.dvc"]
    assert git(repository.folder, "status", "--porcelain").splitlines() == ["M .dvcignore", "A  staged.txt"]


def test_content_that_no_version_has_is_not_overwritten(repository: Repository, tmp_path: Path) -> None:
    repository.snapshot(write_catalog(tmp_path / "first", 5))
    changed = repository.folder / "data" / "README.md"
    changed.write_text("ours")
    with pytest.raises(ValueError, match="holds what no version has.*moon data snapshot"):
        repository.snapshot(write_catalog(tmp_path / "second", 7))
    assert changed.read_text() == "ours"
    repository.snapshot(repository.folder / "data")
    repository.snapshot(tmp_path / "second")
    assert changed.read_text() != "ours"


def test_without_a_place_for_the_data_nothing_is_committed_and_it_goes_on(
    repository: Repository, tmp_path: Path
) -> None:
    drop = write_catalog(tmp_path / "drop", 5)
    config = repository.folder / ".dvc" / "config"
    before = config.read_text()
    config.write_text(before.partition("    remote")[0])
    with pytest.raises(ValueError, match="nothing was committed.*--no-push"):
        repository.snapshot(drop)
    assert len(commits(repository)) == 1
    assert not repository.snapshot(drop, push=False).pushed
    config.write_text(before)
    assert not repository.snapshot(drop).changed
    repository.forget()
    with open_folder(str(repository.folder), "", "data") as folder:
        assert folder.files


def test_a_tag_keeps_its_version(repository: Repository, tmp_path: Path) -> None:
    repository.snapshot(write_catalog(tmp_path / "first", 5), tag="v1")
    with pytest.raises(ValueError, match="'v1' names another version"):
        repository.snapshot(write_catalog(tmp_path / "second", 7), tag="v1")
    assert len(commits(repository)) == 2
    assert repository.snapshot(tmp_path / "second", tag="v2").changed


def test_what_is_no_catalogue_or_no_repository_is_refused(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a catalogue"):
        repository.snapshot(tmp_path)
    drop = write_catalog(tmp_path / "drop", 1)
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(ValueError, match="not a git repository"):
        snapshot.run(drop=drop, repository=plain, out=tmp_path / "out")
    git(plain, "init", "--quiet")
    with pytest.raises(ValueError, match="has no DVC.*dvc init"):
        snapshot.run(drop=drop, repository=plain, out=tmp_path / "out")
    with pytest.raises(ValueError, match="outside the repository"):
        snapshot.run(drop=drop, repository=repository.folder, path="../data", out=tmp_path / "out")
