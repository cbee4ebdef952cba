"""Checks an image from inside, as its user, while it is built: ``check.py TARGET``; any finding fails the build.

Every package is the locked one; every dependency, every module and what every component of this image asks for can be
imported; torch is built for the device that was asked for; and what runs may not change what is installed.
"""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PROJECT = "moon-product-search"
OF_CUDA = re.compile(r"(nvidia-|cuda-|triton$)")
"""Packages that only the CUDA build of torch asks for; the lock, which serves both builds, leaves them out."""
NOT_IN_THE_LOCK = {PROJECT}
NOT_HERE = {"moon.model.sentence_transformer", "moon.evaluation.mteb_encoder", "moon.evaluation.mteb_tasks"}
"""Modules that need sentence-transformers or mteb, which no image has: they are for a user's own environment."""
ROOMS = {
    "data": ("moon.catalog", "moon.vision"),
    "train": ("moon.items", "moon.model", "moon.retrieval", "moon.training", "moon.evaluation"),
    "serve": ("moon.serving", "moon.model", "moon.retrieval", "moon.vision"),
    "monitor": ("moon.monitoring",),
    "pipeline": ("moon.cluster", "moon.config"),
    "tracing": (),
}


def unlocked(installed: dict[str, str], locked: dict[str, str]) -> Iterator[str]:
    """Packages that the lock does not name, or names at another version."""
    for name, version in sorted(installed.items()):
        if name in NOT_IN_THE_LOCK or OF_CUDA.match(name):
            continue
        # A local mark such as +cpu tells how a version was built, not which it is.
        if locked.get(name) != version.split("+")[0]:
            yield f"{name} {version} is installed, the lock says {locked.get(name, 'nothing')}"


def declared(extras: set[str]) -> Iterator[str]:
    """Names of the distributions that the project asks for, with these extras."""
    for requirement in metadata.requires(PROJECT) or ():
        name, _, marker = requirement.partition(";")
        wanted = re.search(r"extra == ['\"]([\w-]+)", marker)
        if wanted is None or wanted[1] in extras:
            yield normal(re.split(r"[^\w.-]", name.strip())[0])


def unimportable(names: set[str]) -> Iterator[str]:
    """Modules that raise when they are imported, with what they raise."""
    for name in sorted(names):
        try:
            importlib.import_module(name)
        except Exception as error:
            yield f"import {name}: {type(error).__name__}: {error}"


def modules(rooms: set[str]) -> set[str]:
    """Every module of these packages; not the ones that run when imported."""
    found = set(rooms)
    for room in rooms:
        package = importlib.import_module(room)
        if hasattr(package, "__path__"):
            found |= {module.name for module in pkgutil.walk_packages(package.__path__, f"{room}.")}
    return {name for name in found - NOT_HERE if not name.endswith("__main__")}


def of_components(folder: Path, target: str) -> set[str]:
    """The modules of ours that the components which run in this image import."""
    named = (folder / "images.yaml").read_text(encoding="utf-8").partition("\ncomponents:\n")[2]
    found: set[str] = set()
    for component in re.findall(rf"^  (\w+): {target}$", named, re.MULTILINE):
        tree = ast.parse((folder / component / "component.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "moon":
                # Of a package, its modules: `from moon.steps import regions`.
                steps = node.module == "moon.steps"
                found |= {f"{node.module}.{one.name}" for one in node.names} if steps else {str(node.module)}
    return found


def wrong_torch(device: str) -> Iterator[str]:
    """A torch that is not built for this device."""
    import torch

    built = "cuda" if torch.version.cuda else "cpu"
    if built != device:
        yield f"torch {torch.__version__} is built for {built}, DEVICE is {device}; see docs/images.md"


def changeable() -> Iterator[str]:
    """What would let a running container change what it consists of."""
    if os.geteuid() == 0:
        yield "the user is root"
    if os.access(Path(importlib.import_module("moon").__file__ or ""), os.W_OK):
        yield f"user {os.geteuid()} may write to the package"
    yield from (f"{tool} is installed" for tool in ("pip", "uv") if (Path(sys.prefix) / "bin" / tool).exists())


def normal(name: str) -> str:
    """A package's name as the lock writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Prints what is wrong; returns 1 where anything is."""
    target = sys.argv.pop(1)  # KServe reads the command line when it is imported
    extras = set(Path(sys.prefix, "extras").read_text(encoding="utf-8").split())
    installed = {normal(one.name): one.version for one in metadata.distributions()}
    locked = dict(line.split("==") for line in Path("/requirements.lock").read_text(encoding="utf-8").splitlines())
    wanted = set(declared(extras))
    tops = {top for top, owners in metadata.packages_distributions().items() if wanted & set(map(normal, owners))}
    tops = {top for top in tops if top.isidentifier() and not top.startswith("_")}

    found = [*unlocked(installed, locked), *(f"{name} is missing" for name in sorted(wanted - set(installed)))]
    found += unimportable(tops)
    found += unimportable(modules({room for extra in extras for room in ROOMS[extra]}))
    found += unimportable(of_components(Path("/components"), target))
    if "torch" in installed:
        found += wrong_torch(os.environ["DEVICE"])
    found += changeable()
    if (asked := os.environ.get("VERSION")) and asked != installed[PROJECT]:
        found.append(f"VERSION is {asked}, the package says {installed[PROJECT]}")
    sys.stdout.writelines(f"error: {finding}\n" for finding in found)
    if not found:
        sys.stdout.write(f"{PROJECT} {installed[PROJECT]} for {', '.join(sorted(extras))}: {len(installed)} packages\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
