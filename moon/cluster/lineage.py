"""What a registered model was made from: the names of the facts, and their form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

IMAGE: Final = "image."
"""Before the name of a container image: ``image.train`` is that of training, by digest."""
KEYS: Final = {
    "data": "digest of the catalogue",
    "source": "Git repository, or folder, that the catalogue came from",
    "dvc": "commit of that repository whose DVC files name the catalogue",
    "path": "of the catalogue in that repository",
    "md5": "DVC's name of the catalogue's content",
    "recipe": "digest of the parameters",
    "git": "commit of the code; '-dirty' behind it where files had been changed",
    "run": "the run that made it",
    "start": "revision of the model that training started from",
    "parent": "registry entry of that model, NAME/VERSION@DIGEST",
}
"""Fact -> what it says. Every value is a text."""


def checked(lineage: Mapping[str, str]) -> dict[str, str]:
    """The facts that are known, in the order of `KEYS`, then the images.

    Raises:
        ValueError: a name that is none of `KEYS` and no image, or a value that is no text.
    """
    for name, value in lineage.items():
        if name not in KEYS and not name.startswith(IMAGE):
            raise ValueError(f"lineage has '{name}', expected some of {', '.join(KEYS)} and {IMAGE}NAME")
        if not isinstance(value, str):
            raise ValueError(f"lineage: '{name}' is {value!r}, expected a text")
    ordered = [*KEYS, *sorted(name for name in lineage if name.startswith(IMAGE))]
    return {name: lineage[name] for name in ordered if lineage.get(name)}


def parent_entry(text: str) -> tuple[str, str, str]:
    """Name, version and digest of an entry ``NAME/VERSION@DIGEST``.

    Raises:
        ValueError: it has another form.
    """
    entry, at, digest = text.partition("@")
    name, slash, version = entry.partition("/")
    if not (at and slash and name and version and digest):
        raise ValueError(f"a parent is written NAME/VERSION@DIGEST, got '{text}'")
    return name, version, digest
