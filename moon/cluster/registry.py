"""The model registry: numbered versions of a model, each with its digest and lineage.

`LocalRegistry` keeps them in a folder: ``NAME/v1/model/...`` and ``NAME/v1/version.json``. The lineage is also in
``model/lineage.json``, because a cluster mounts nothing but the model folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

LINEAGE_FILE: Final = "lineage.json"
"""In a registered model folder: its lineage, name, version and digest as one object of texts."""
_VERSION_FILE, _MODEL, _LOCK, _PARTIAL = "version.json", "model", ".lock", ".partial-"
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One registered version."""

    name: str
    version: str
    """``v1``, ``v2``, ..."""
    uri: str
    """Where the model folder lies."""
    digest: str
    """SHA-256 of the model folder without ``lineage.json``."""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def lineage(self) -> dict[str, str]:
        """What it was made from, by the names of `moon.cluster.lineage.KEYS`."""
        return dict(self.metadata.get("lineage", {}))

    @property
    def entry(self) -> str:
        """The version by name and content, as a model that was trained from it names its parent."""
        return f"{self.name}/{self.version}@{self.digest}"


class Registry(Protocol):
    """Registers models; the same content is registered once."""

    def register(self, name: str, model: Path, digest: str, metadata: Mapping[str, Any]) -> ModelVersion:
        """Stores a model folder as the next version, or returns the version that has this digest already."""
        ...

    def list(self, name: str) -> list[ModelVersion]:
        """All versions, oldest first."""
        ...

    def get(self, name: str, version: str) -> ModelVersion:
        """One version."""
        ...

    def latest(self, name: str) -> ModelVersion:
        """The newest version."""
        ...


class LocalRegistry:
    """A registry in a folder; safe for several processes on one machine.

    A version appears whole or not at all: it is copied aside and renamed, under a lock that ends with its process.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def register(self, name: str, model: Path, digest: str, metadata: Mapping[str, Any]) -> ModelVersion:
        """Copies a model folder in as the next version.

        Args:
            name: lower-case letters, digits and dashes, as Kubernetes wants them.
            model: the folder.
            digest: SHA-256 of the folder's content without ``lineage.json``, which is written anew.
            metadata: plain data kept with the version; that of an existing version is not changed. ``lineage`` in it
                is an object of texts.

        Raises:
            ValueError: a bad name or no such folder.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"a model name has lower-case letters, digits and dashes, at most 63; got '{name}'")
        if not model.is_dir():
            raise ValueError(f"no model folder {model}")
        folder = self._root / name
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / _LOCK):
            versions = self.list(name)
            for known in versions:
                if known.digest == digest:
                    return known
            number = int(versions[-1].version[1:]) + 1 if versions else 1
            target = folder / f"v{number}"
            uri = (target / _MODEL).resolve().as_uri()
            new = ModelVersion(name=name, version=target.name, uri=uri, digest=digest, metadata=dict(metadata))
            _store(new, model, target)
            return new

    def list(self, name: str) -> list[ModelVersion]:
        """All versions, oldest first; none for an unknown name."""
        files = (self._root / name).glob(f"v*/{_VERSION_FILE}")
        versions = [ModelVersion(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
        return sorted(versions, key=lambda one: int(one.version[1:]))

    def get(self, name: str, version: str) -> ModelVersion:
        """One version.

        Raises:
            ValueError: there is none; the message names those there are.
        """
        versions = self.list(name)
        for one in versions:
            if one.version == version:
                return one
        known = ", ".join(one.version for one in versions) or "none"
        raise ValueError(f"no version '{version}' of model '{name}' in {self._root}; registered: {known}")

    def latest(self, name: str) -> ModelVersion:
        """The newest version.

        Raises:
            ValueError: nothing is registered under this name.
        """
        versions = self.list(name)
        if not versions:
            raise ValueError(f"no model '{name}' in {self._root}; 'moon register' puts one there")
        return versions[-1]


def _store(version: ModelVersion, model: Path, target: Path) -> None:
    """Copies the model beside its place and moves it there; what a killed process left behind is removed."""
    for stale in target.parent.glob(f"{_PARTIAL}*"):
        shutil.rmtree(stale)
    partial = target.parent / f"{_PARTIAL}{uuid.uuid4().hex}"
    shutil.copytree(model, partial / _MODEL)
    identity = {"name": version.name, "version": version.version, "digest": version.digest}
    _write(partial / _MODEL / LINEAGE_FILE, {**version.lineage, **identity})
    _write(partial / _VERSION_FILE, dataclasses.asdict(version))
    partial.rename(target)


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
