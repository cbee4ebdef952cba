"""Step: follows a model back to the files it was made from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from moon.catalog.dvc_folder import DvcError, open_folder
from moon.catalog.store import Catalog, folder_digest
from moon.cluster.lineage import checked, parent_entry
from moon.cluster.registry import LINEAGE_FILE, LocalRegistry

_IDENTITY = ("name", "version", "digest")


@dataclass(frozen=True, kw_only=True)
class Link:
    """One model of the chain."""

    name: str
    version: str
    digest: str
    facts: dict[str, str]
    """By the names of `moon.cluster.lineage.KEYS`."""
    files: dict[str, str]
    """Name -> MD5 of the catalogue's files, where DVC names them."""
    problems: list[str]
    """What could not be followed, or is not what the entry says."""


@dataclass(frozen=True, kw_only=True)
class LineageResult:
    """From a model to the first one."""

    chain: list[Link]

    @property
    def problems(self) -> list[str]:
        """Of all links."""
        return [problem for link in self.chain for problem in link.problems]


def run(*, model: str, registry: Path, remote: str = "", verify: bool = False) -> LineageResult:
    """The models that a model came from, newest first, each with its code, recipe, run, images and data files.

    Args:
        model: NAME or NAME/VERSION of the registry, or the folder of a registered model, also of a copy elsewhere.
        registry: folder of the registry.
        remote: where DVC's data lies; see `moon.catalog.dvc_folder.open_folder`.
        verify: whether to read the models' bytes and compare them with the registered digests.

    Raises:
        ValueError: there is no such model, or its folder tells nothing.
    """
    chain: list[Link] = []
    for folder, facts in _ancestors(model, LocalRegistry(registry)):
        problems = [facts.pop("problem")] if "problem" in facts else []
        identity = {name: facts.pop(name, "") for name in _IDENTITY}
        if verify and folder is not None:
            problems += _intact(folder, identity["digest"])
        files, more = _data_files(facts, remote) if facts else ({}, [])
        chain.append(Link(**identity, facts=checked(facts), files=files, problems=problems + more))
    return LineageResult(chain=chain)


def _ancestors(model: str, store: LocalRegistry) -> Iterator[tuple[Path | None, dict[str, str]]]:
    """Folder and facts of a model, of its parent, and so on; None is the folder of one that is not there."""
    folder, facts = _given(model, store)
    seen = set()
    while True:
        yield folder, dict(facts)
        parent = facts.get("parent", "")
        if not parent or parent in seen:
            return
        seen.add(parent)
        name, version, digest = parent_entry(parent)
        try:
            folder, facts = _registered(store, name, version)
        except ValueError as error:
            yield None, {"name": name, "version": version, "digest": digest, "problem": str(error)}
            return
        if facts["digest"] != digest:
            facts["problem"] = f"{name}/{version} has digest {facts['digest']}, its descendant names {digest}"


def _given(model: str, store: LocalRegistry) -> tuple[Path, dict[str, str]]:
    name, _, version = model.partition("/")
    if (folder := Path(model)).is_dir() and not store.list(name):
        return folder, _facts_in(folder)
    return _registered(store, name, version or store.latest(name).version)


def _registered(store: LocalRegistry, name: str, version: str) -> tuple[Path, dict[str, str]]:
    found = store.get(name, version)
    identity = {"name": found.name, "version": found.version, "digest": found.digest}
    return Path(unquote(urlsplit(found.uri).path)), {**found.lineage, **identity}


def _facts_in(folder: Path) -> dict[str, str]:
    """What a registered model's folder says of itself.

    Raises:
        ValueError: nothing, or nothing that can be read.
    """
    path = folder / LINEAGE_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {LINEAGE_FILE}: give a model that 'moon register' put into a registry")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); register the model again") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a {type(value).__name__}, expected an object of texts")
    return {str(name): str(one) for name, one in value.items()}


def _intact(folder: Path, digest: str) -> list[str]:
    if not folder.is_dir():
        return [f"the model's folder {folder} is gone"]
    found = folder_digest(folder, skip=(LINEAGE_FILE,))
    return [] if found == digest else [f"{folder} has digest {found}, it was registered with {digest}"]


def _data_files(facts: Mapping[str, str], remote: str) -> tuple[dict[str, str], list[str]]:
    """The catalogue's files, and why they could not be listed."""
    data, source = facts.get("data", "of unknown version"), facts.get("source", "")
    if facts.get("dvc"):
        try:
            with open_folder(source, facts["dvc"], facts.get("path", ""), remote) as folder:
                if folder.md5 == facts.get("md5"):
                    return dict(folder.files), []
                return {}, [f"{source} has MD5 {folder.md5} at {facts['dvc']}, the model names {facts.get('md5')}"]
        except DvcError as error:
            return {}, [str(error)]
    if not source:
        return {}, [f"nothing tells where data {data} came from; version it with 'moon data snapshot' and fetch it"]
    return _folder_files(Path(source), data)


def _folder_files(source: Path, data: str) -> tuple[dict[str, str], list[str]]:
    """The files of a catalogue folder that no version names; they have no MD5."""
    try:
        found = Catalog.open(source).digest()
    except ValueError as error:
        return {}, [str(error)]
    if found != data:
        return {}, [f"{source} holds data {found} now, the model names {data}"]
    return {str(path.relative_to(source)): "" for path in sorted(source.glob("*/part-*.parquet"))}, []
