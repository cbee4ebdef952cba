"""The images: what the Dockerfile says, that one file names them, and that the built ones answer (marker docker)."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

import components.base
import moon
from moon.config import ServingParams

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
NAMED = yaml.safe_load((ROOT / "components/images.yaml").read_text())
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docker" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pin, check, sbom = script("pin"), script("check"), script("sbom")


def stages() -> dict[str, tuple[str, list[str]]]:
    """Stage -> what it starts from, and its instructions, each on one line."""
    found: dict[str, tuple[str, list[str]]] = {}
    for line in re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines():
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            found[match[2]] = (match[1], [])
        elif found and line and not line.startswith("#"):
            found[next(reversed(found))][1].append(line)
    return found


def instructions(stage: str) -> list[str]:
    """Of a stage and all that it starts from."""
    start, own = stages()[stage]
    return [*(instructions(start) if start in stages() else []), *own]


# --- the Dockerfile -----------------------------------------------------------------------------------------------


def test_there_is_one_base_named_by_digest() -> None:
    assert re.search(r"^ARG BASE_IMAGE=\S+:\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    starts = {start for start, _ in stages().values()}
    assert starts - set(stages()) == {"${BASE_IMAGE}"}
    assert "# syntax" not in DOCKERFILE  # names an image that is fetched before the build


def test_the_targets_are_the_images_that_are_named() -> None:
    assert set(NAMED["images"]) == set(pin.TARGETS) <= set(stages())
    makefile = (ROOT / "Makefile").read_text()
    assert f"IMAGES := {' '.join(pin.TARGETS)}\n" in makefile


@pytest.mark.parametrize("target", pin.TARGETS)
def test_an_image_runs_as_nobody_and_is_checked_as_that_user(target: str) -> None:
    lines = instructions(target)
    users = [line for line in lines if line.startswith("USER")]
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", users[-1])
    checked = next(number for number, line in enumerate(lines) if f"/docker/check.py {target}" in line)
    copied = max(number for number, line in enumerate(lines) if line.startswith("COPY"))
    assert copied < checked and lines.index(users[-1]) < checked
    assert not [line for line in lines if re.search(r"\b(apt-get|pip|uv|curl|ADD)\b", line)], "it installs something"
    assert f"COPY --from={target}-sbom /sbom.cdx.json /opt/moon/" in lines


@pytest.mark.parametrize("target", sorted(set(NAMED["components"].values())))
def test_an_image_of_components_takes_any_command(target: str) -> None:
    assert not [line for line in instructions(target) if line.startswith("ENTRYPOINT")]


@pytest.mark.parametrize("target", pin.TARGETS)
def test_an_image_has_extras_that_exist_and_rooms_to_check(target: str) -> None:
    (installed,) = [line for line in stages()[f"{target}-deps"][1] if "install.sh" in line]
    extras = installed.partition(" /docker/install.sh ")[2] or installed.split("install.sh")[-1]
    assert extras.split() and set(extras.split()) <= set(EXTRAS)
    assert set(extras.split()) <= set(check.ROOMS)


def test_every_dependency_is_installed_under_the_lock() -> None:
    shell = (ROOT / "docker/install.sh").read_text()
    assert "--constraints=requirements.lock" in shell and "--build-constraints=requirements.lock" in shell
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in (ROOT / "docker/tools.txt").read_text().split())


def test_the_build_sees_what_it_needs_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in lines
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in let_in)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    mounted = re.findall(r"type=bind,source=([^,]+),", DOCKERFILE)
    assert {Path(name).parts[0] for name in (*" ".join(copied).split(), *mounted)} == let_in


def test_the_version_has_one_source() -> None:
    assert pin.version(ROOT) == moon.__version__
    made = subprocess.run(
        ["make", "-n", "image-train", "DEVICE=cuda", "PIP_FIND_LINKS="], cwd=ROOT, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert f'VERSION="{moon.__version__}"' in made.stdout and f'moon-train:{moon.__version__}-cuda"' in made.stdout


# --- their names --------------------------------------------------------------------------------------------------


def test_every_image_is_named_by_digest_or_by_this_version() -> None:
    for target, reference in pin.references(ROOT).items():
        assert re.search(rf"/moon-{target}(@sha256:[0-9a-f]{{64}}|:{re.escape(moon.__version__)}(-cuda)?)$", reference)
    assert pin.references(ROOT) == NAMED["images"]


def test_no_other_file_names_another_image() -> None:
    known = set(NAMED["images"].values())
    registry = re.escape(NAMED["images"]["serve"].rpartition("/moon-")[0])
    for folder in ("components", "manifests", "moon", "pipelines"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".yml") and path.parent.name != "compiled":
                named = re.findall(rf"{registry}/[\w./@:-]+[\w]", path.read_text())
                assert set(named) <= known, path
    assert ServingParams().image == NAMED["images"]["serve"]
    assert yaml.safe_load((ROOT / "params.yaml").read_text())["serving"]["image"] == NAMED["images"]["serve"]


def test_every_component_has_an_image() -> None:
    assert set(NAMED["components"]) == {path.parent.name for path in (ROOT / "components").glob("*/component.py")}
    for component, target in NAMED["components"].items():
        assert components.base.image(component) == NAMED["images"][target]
    assert components.base.image() == NAMED["images"]["pipeline"]


@pytest.mark.parametrize(("wanted", "said"), [("polish", "'polish' has image None"), ("train", "has image 'gpu'")])
def test_a_component_without_a_known_image_is_an_error(
    wanted: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "images.yaml"
    path.write_text(yaml.safe_dump({**NAMED, "components": {"train": "gpu"}}))
    monkeypatch.setattr(components.base, "IMAGES", path)
    with pytest.raises(ValueError, match=said):
        components.base.image(wanted)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `pin` reads and writes, copied."""
    for name in ("components/images.yaml", "params.yaml", "moon/config/sections.py", "moon/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    return tmp_path


def test_new_names_go_into_every_file_and_back(checkout: Path) -> None:
    before = {path: path.read_text() for path in checkout.rglob("*") if path.is_file()}
    old = pin.references(checkout)
    new = {target: f"registry.local:5000/a/moon-{target}@sha256:{i:064x}" for i, target in enumerate(pin.TARGETS)}
    changed = set(pin.rename(checkout, new))
    assert {Path("components/images.yaml"), Path("params.yaml"), Path("moon/config/sections.py")} <= changed
    assert pin.references(checkout) == new
    assert yaml.safe_load((checkout / "params.yaml").read_text())["serving"]["image"] == new["serve"]
    assert not [path for path in before if any(reference in path.read_text() for reference in old.values())]
    assert list(pin.rename(checkout, new)) == []
    assert set(pin.rename(checkout, old)) == changed
    assert {path: path.read_text() for path in before} == before


def test_an_image_that_was_not_pushed_has_no_digest(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho '[\"elsewhere/moon-serve@sha256:{'1' * 64}\"]'\n")
    docker.chmod(0o755)
    with pytest.raises(ValueError, match="registry.local/moon-serve:1.0 has no digest: build and push it first"):
        pin.digest(str(docker), "registry.local/moon-serve", "1.0")
    assert pin.digest(str(docker), "elsewhere/moon-serve", "1.0") == f"elsewhere/moon-serve@sha256:{'1' * 64}"


# --- what the build checks ----------------------------------------------------------------------------------------


def test_a_package_that_is_not_the_locked_one_is_found() -> None:
    locked = {"torch": "2.13.0", "numpy": "2.4.6"}
    assert list(check.unlocked({"torch": "2.13.0+cpu", "numpy": "2.4.6", "moon-product-search": "0.1.0"}, locked)) == []
    assert list(check.unlocked({"nvidia-cublas": "13.0", "triton": "3.9", "cuda-bindings": "1"}, locked)) == []
    found = list(check.unlocked({"numpy": "2.4.5", "left-pad": "1.0"}, locked))
    assert len(found) == 2 and "left-pad 1.0" in found[0] and "the lock says 2.4.6" in found[1]


def test_a_module_that_cannot_be_imported_is_found() -> None:
    found = list(check.unimportable({"json", "moon.no_such_module"}))
    assert len(found) == 1 and found[0].startswith("import moon.no_such_module: ModuleNotFoundError")


def test_the_declared_packages_are_those_of_the_extras() -> None:
    plain, serve = set(check.declared(set())), set(check.declared({"serve"}))
    assert "numpy" in plain and "kserve" not in plain and "torch" not in plain
    assert {"kserve", "torch"} <= serve and "kfp" not in serve


def test_every_component_is_checked_in_its_image() -> None:
    imported = {target: check.of_components(ROOT / "components", target) for target in pin.TARGETS}
    assert "moon.steps.train" in imported["train"] and "moon.steps.validate" in imported["data"]
    assert imported["serve"] == set()
    for name in set().union(*imported.values()):
        assert importlib.util.find_spec(name) is not None, name


def test_debian_packages_become_components() -> None:
    listed = "ii \tlibc6\t2.36-9+deb12u13\tamd64\nrc \tgone\t1.0\tall\n"
    (component,) = sbom.debian_packages(listed)
    assert (component["name"], component["version"]) == ("libc6", "2.36-9+deb12u13")
    assert component["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u13?arch=amd64"


# --- the built images ---------------------------------------------------------------------------------------------


def docker(*arguments: str, check: bool = True) -> str:
    """Output of a docker command."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=240)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def built(target: str) -> str:
    """An image that is here already; the test is skipped without it."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("there is no container engine")
    reference = os.environ.get(f"MOON_IMAGE_{target.upper()}", NAMED["images"][target])
    if subprocess.run(["docker", "image", "inspect", reference], capture_output=True).returncode:
        pytest.skip(f"{reference} is not here: make image-{target}")
    return str(reference)


LOCKED_DOWN = (
    "--read-only --user 12345 --network none --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp:size=256m"
).split()
ASK = """
import json, urllib.request
def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request("http://127.0.0.1:8080" + path, data, {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))
"""


@pytest.fixture(scope="module")
def container(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a container without a network, a user of its own and a root that it may write to."""
    image = built("serve")
    readable = tmp_path_factory.mktemp("readable") / "model"
    shutil.copytree(tiny_model, readable)
    for path in (readable, *readable.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for parent in list(readable.parents)[:3]:
        parent.chmod(0o755)
    name = docker("run", "--detach", *LOCKED_DOWN, "--volume", f"{readable}:/mnt/models:ro", image).strip()
    try:
        until = time.monotonic() + 240
        ready = ["exec", name, "python", "-c", ASK + "assert ask('/v2/health/ready')['ready']"]
        while subprocess.run(["docker", *ready], capture_output=True).returncode:
            assert docker("inspect", "--format", "{{.State.Running}}", name).strip() == "true", docker("logs", name)
            assert time.monotonic() < until, docker("logs", name)
            time.sleep(0.5)
        yield name
    finally:
        docker("rm", "--force", name, check=False)


@pytest.mark.docker
@pytest.mark.slow
def test_the_server_answers_in_its_container_as_it_does_outside(container: str, tiny_model: Path) -> None:
    from moon.model import Embedder, Item

    texts = ["red mug", "a blue shoe for running"]
    asked = f"print(json.dumps(ask('/v1/embeddings', {{'input': {texts!r}}})))"
    answer: dict[str, Any] = json.loads(docker("exec", container, "python", "-c", ASK + asked))
    given = np.array([one["embedding"] for one in answer["data"]])
    offline = Embedder.load(tiny_model).embed([Item(title=text) for text in texts])
    assert np.allclose(given, offline, atol=1e-5)


@pytest.mark.docker
@pytest.mark.slow
def test_the_container_can_change_nothing_and_ends_on_sigterm(container: str) -> None:
    assert "12345" in docker("exec", container, "id", "-u")
    tried = ["exec", container, "sh", "-c", "touch /opt/moon/x || touch /x || python3 -m pip --version"]
    assert subprocess.run(["docker", *tried], capture_output=True).returncode != 0
    docker("stop", "--time", "60", container)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"


@pytest.mark.docker
@pytest.mark.slow
def test_a_server_without_a_model_says_so_in_one_line_and_ends() -> None:
    image = built("serve")
    done = subprocess.run(["docker", "run", "--rm", *LOCKED_DOWN, image], capture_output=True, text=True, timeout=240)
    said = (done.stdout + done.stderr).strip().splitlines()
    assert done.returncode == 1 and len(said) == 1 and "/mnt/models is not a model folder" in said[0]


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("target", pin.TARGETS)
def test_an_image_says_what_it_holds(target: str) -> None:
    image = built(target)
    settings = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    assert settings["User"] == "10001:10001"
    assert settings["Labels"]["org.opencontainers.image.version"] == moon.__version__
    listed = docker("run", "--rm", *LOCKED_DOWN, "--entrypoint", "cat", image, "/opt/moon/sbom.cdx.json")
    parts = {one["name"].lower(): one.get("version") for one in json.loads(listed)["components"]}
    assert parts["moon-product-search"] == moon.__version__
    assert parts["libc6"] and parts["numpy"]
    assert ("torch" in parts) == (target != "data") and ("kserve" in parts) == (target in ("serve", "pipeline"))
    assert "pytest" not in parts and "pip" not in parts
