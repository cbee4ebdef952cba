"""Names the images in every file that does: ``pin.py digests`` after a push, ``pin.py tags`` after a new version.

``components/images.yaml`` holds the names; the other files repeat the one of the model server, and get the same.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGES = Path("components/images.yaml")
TARGETS = ("data", "train", "serve", "pipeline")
REPEATED = ("params.yaml", "moon/config/*.py", "manifests/**/*.yaml")
NAME = re.compile(r"^  (?P<target>\w+): (?P<reference>\S+[:@]\S+)$", re.MULTILINE)


def references(root: Path) -> dict[str, str]:
    """Target -> the image's name, as ``images.yaml`` of this checkout has it."""
    text = (root / IMAGES).read_text(encoding="utf-8")
    return {match["target"]: match["reference"] for match in NAME.finditer(text)}


def version(root: Path) -> str:
    """The package's version, from its one source."""
    text = (root / "moon/__init__.py").read_text(encoding="utf-8")
    return next(re.finditer(r'^__version__ = "(.+)"$', text, re.MULTILINE))[1]


def digest(docker: str, repository: str, tag: str) -> str:
    """The name by digest of an image that has been pushed to this repository.

    Raises:
        ValueError: it has not been pushed from here.
    """
    command = [docker, "image", "inspect", "--format", "{{json .RepoDigests}}", f"{repository}:{tag}"]
    answer = subprocess.run(command, capture_output=True, text=True)
    known = json.loads(answer.stdout) or [] if answer.returncode == 0 else []
    for reference in known:
        if reference.startswith(f"{repository}@sha256:"):
            return str(reference)
    raise ValueError(f"{repository}:{tag} has no digest: build and push it first (make images-push)")


def rename(root: Path, new: dict[str, str]) -> Iterator[Path]:
    """Puts new names in the place of the old ones; yields the files that changed, relative to ``root``."""
    old = references(root)
    for path in (root / IMAGES, *(path for pattern in REPEATED for path in sorted(root.glob(pattern)))):
        before = text = path.read_text(encoding="utf-8")
        for target, reference in new.items():
            text = text.replace(old[target], reference)
        if text != before:
            path.write_text(text, encoding="utf-8")
            yield path.relative_to(root)


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrites the names; returns the exit code."""
    parser = argparse.ArgumentParser(prog="pin.py", description=__doc__)
    parser.add_argument("by", choices=("digests", "tags"))
    parser.add_argument("--registry", required=True, help="where the images lie, such as registry.example/team")
    parser.add_argument("--docker", default="docker", help="the docker command")
    parser.add_argument("--device", default="cpu", help="what torch of the image 'train' is built for")
    options = parser.parse_args(arguments)
    tags = dict.fromkeys(TARGETS, version(ROOT))
    if options.device != "cpu":
        tags["train"] += f"-{options.device}"
    repositories = {target: f"{options.registry}/moon-{target}" for target in TARGETS}
    try:
        new = {
            target: digest(options.docker, repository, tags[target])
            if options.by == "digests"
            else f"{repository}:{tags[target]}"
            for target, repository in repositories.items()
        }
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for path in rename(ROOT, new):
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
