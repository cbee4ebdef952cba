from __future__ import annotations

import dataclasses
import json
import multiprocessing
from pathlib import Path
from urllib.parse import urlparse

import pytest

from moon.cluster.registry import LocalRegistry, ModelVersion


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "nested").mkdir(parents=True)
    (folder / "weights").write_bytes(b"123")
    (folder / "nested" / "config").write_bytes(b"{}")
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return LocalRegistry(tmp_path / "registry")


def test_a_version_is_a_copy_that_outlives_the_original(registry: LocalRegistry, model: Path) -> None:
    version = registry.register("moon", model, "d1", {"run": "7"})
    (model / "weights").unlink()
    stored = Path(urlparse(version.uri).path)
    assert (stored / "weights").read_bytes() == b"123"
    assert (stored / "nested" / "config").read_bytes() == b"{}"
    assert (version.name, version.version, version.digest, version.metadata) == ("moon", "v1", "d1", {"run": "7"})
    assert registry.get("moon", "v1") == registry.latest("moon") == version


def test_the_same_content_is_one_version(registry: LocalRegistry, model: Path) -> None:
    first = registry.register("moon", model, "d1", {"run": "7"})
    assert registry.register("moon", model, "d1", {"run": "8"}) == first
    assert registry.list("moon") == [first]


def test_versions_count_on_past_nine(registry: LocalRegistry, model: Path) -> None:
    for number in range(1, 12):
        assert registry.register("moon", model, f"d{number}", {}).version == f"v{number}"
    assert registry.latest("moon").version == "v11"
    assert [one.version for one in registry.list("moon")] == [f"v{number}" for number in range(1, 12)]
    assert registry.list("other") == []


def test_the_folder_that_a_cluster_mounts_tells_what_it_is(registry: LocalRegistry, model: Path) -> None:
    (model / "lineage.json").write_text('{"data": "of another registry"}')
    version = registry.register("moon", model, "d1", {"lineage": {"data": "abc", "git": "123"}})
    stored = Path(urlparse(version.uri).path)
    told = json.loads((stored / "lineage.json").read_text())
    assert told == {"data": "abc", "git": "123", "name": "moon", "version": "v1", "digest": "d1"}
    assert version.lineage == {"data": "abc", "git": "123"}
    assert version.entry == "moon/v1@d1"


def _register(root: Path, model: Path, digest: str) -> dict[str, object]:
    return dataclasses.asdict(LocalRegistry(root).register("moon", model, digest, {}))


def test_processes_at_once_get_one_version_a_digest(tmp_path: Path, model: Path) -> None:
    digests = [f"d{number % 3}" for number in range(9)]
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.starmap(_register, [(tmp_path / "registry", model, digest) for digest in digests])
    versions = LocalRegistry(tmp_path / "registry").list("moon")
    assert [one.version for one in versions] == ["v1", "v2", "v3"]
    by_digest = {one.digest: one for one in versions}
    assert [ModelVersion(**one) for one in found] == [by_digest[digest] for digest in digests]


def test_a_copy_that_was_cut_off_is_no_version_and_is_removed(
    registry: LocalRegistry, model: Path, tmp_path: Path
) -> None:
    stale = tmp_path / "registry" / "moon" / ".partial-killed" / "model"
    stale.mkdir(parents=True)
    assert registry.list("moon") == []
    registry.register("moon", model, "d1", {})
    assert not stale.exists()


def test_what_cannot_be_is_refused(registry: LocalRegistry, model: Path) -> None:
    with pytest.raises(ValueError, match="lower-case letters"):
        registry.register("../evil", model, "d", {})
    with pytest.raises(ValueError, match="no model folder"):
        registry.register("moon", model / "nothing", "d", {})
    with pytest.raises(ValueError, match="no model 'moon'.*moon register"):
        registry.latest("moon")
    registry.register("moon", model, "d", {})
    with pytest.raises(ValueError, match="no version 'v9' .* registered: v1"):
        registry.get("moon", "v9")
