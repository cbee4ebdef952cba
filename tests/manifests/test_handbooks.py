"""What docs/deploy.md and docs/operate.md tell somebody to type or to read is there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from moon.cli import app
from moon.config import parse_params
from pipelines.platform import STORE_SECRET, STORE_SETTINGS
from tests.manifests.rendering import COMPONENTS, MANIFESTS, amount, bodies, only

ROOT = MANIFESTS.parent
HANDBOOKS = [ROOT / "docs" / name for name in ("deploy.md", "operate.md")]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(params=HANDBOOKS, ids=lambda path: path.name)
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param.read_text())


def blocks(text: str, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(text) if found == language]


def commands(text: str) -> list[list[str]]:
    """Every command line in a shell block or in back-ticks."""
    shell = "\n".join(blocks(text, "sh")).replace("\\\n", " ")
    inline = [span for span in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)) if " " in span]
    return [shlex.split(line, comments=True) for line in (*shell.splitlines(), *inline) if line.strip()]


def test_commands_of_moon_exist_with_their_options(text: str) -> None:
    for words in commands(text):
        inside = words[words.index("--") + 1 :] if "--" in words else words
        if inside[:1] == ["moon"]:
            exists(inside)


def test_the_collectors_command_exists_and_listens_where_it_says() -> None:
    found = bodies(MANIFESTS / "overlays" / "prod")
    [container] = only("Deployment", found, "moon-collector")["spec"]["template"]["spec"]["containers"]
    exists([*container["command"], *container["args"]])
    changes = [arg.removeprefix("--set=") for arg in container["args"] if arg.startswith("--set=")]
    collector = parse_params("", changes).collector
    assert (collector.host, collector.port) == ("0.0.0.0", container["ports"][0]["containerPort"])
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    [root] = [arg.removeprefix("--root=") for arg in container["args"] if arg.startswith("--root=")]
    assert root in mounts
    # What may wait in memory must fit beside the process.
    assert collector.max_pending_bytes * 2 < 2 * 2**30 == amount(container["resources"]["limits"]["memory"])


def test_arguments_of_pipelines_exist(text: str) -> None:
    for words in (words for words in commands(text) if words[:2] == ["moon", "pipeline"] and len(words) > 3):
        compiled = (ROOT / "pipelines" / "compiled" / f"{words[3]}.yaml").read_text()
        spec = next(iter(yaml.load_all(compiled, getattr(yaml, "CSafeLoader", yaml.SafeLoader))))
        known = spec["root"]["inputDefinitions"]["parameters"]
        given = {words[at + 1].partition("=")[0] for at, word in enumerate(words[:-1]) if word == "--arg"}
        assert given <= known.keys(), f"{words[3]} has no {given - known.keys()}"
        required = {name for name, one in known.items() if not one.get("isOptional")}
        assert words[2] not in ("run", "schedule") or required <= given, f"{words[3]} needs {required - given}"


def exists(words: list[str]) -> None:
    """Fails where a command line names a command or an option that is not there."""
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands"):
        assert rest[0] in command.commands, f"'{' '.join(words)}' does not exist"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    for word in rest:
        assert not word.startswith("-") or word.partition("=")[0] in known, f"'{' '.join(words)}': no {word}"


def test_parameters_that_are_named_exist(text: str) -> None:
    tree = {section: set(vars(values)) for section, values in vars(parse_params("")).items()}
    for section, name in re.findall(r"`(?:--set )?([a-z]+)\.([a-z_]+)(?:[=:][^`]*)?`", text):
        if section in tree:
            assert name in tree[section], f"{section}.{name} does not exist"
    for words in commands(text):
        changes = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "--set"]
        parse_params("", changes)
    for recipe in (block for block in blocks(text, "yaml") if re.search(r"^serving:", block, re.MULTILINE)):
        parse_params(recipe)


def test_targets_of_make_exist(text: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for words in (words for words in commands(text) if words[:1] == ["make"]):
        assert re.search(rf"^{re.escape(words[1])}:", makefile, re.MULTILINE), f"make {words[1]} does not exist"


def test_paths_and_links_exist(text: str) -> None:
    for path in re.findall(r"(?<![\w/.])((?:manifests|components|pipelines|docs)/[\w./-]+\w)", FENCE.sub("", text)):
        assert (ROOT / path).exists(), path
    for link, _, anchor in re.findall(r"\]\(([\w.-]+\.md)(#([\w-]+))?\)", text):
        headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / link).read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, f"{link}#{anchor}"


def test_what_is_applied_by_folder_renders(text: str) -> None:
    for words in commands(text):
        if words[:1] == ["kubectl"] and ("-k" in words or "kustomize" in words):
            for folder in words[words.index("-k" if "-k" in words else "kustomize") + 1 :][:1]:
                assert bodies(ROOT / folder), folder


def test_objects_that_are_named_exist(text: str) -> None:
    names = {
        str(body["metadata"]["name"]) for folder in ("overlays/prod", "cluster") for body in bodies(MANIFESTS / folder)
    }
    names |= {STORE_SECRET, STORE_SETTINGS, "moon-files", "moon-images", "moon-dev", "moon-predictor", "moon-release"}
    names |= {"moon-train", "moon-embed", "moon-monitor", "moon-sweep"}
    for name in re.findall(r"`(moon-[a-z0-9-]+)`", text):
        assert name in names, name


def test_the_overview_lists_every_component_and_overlay() -> None:
    overview = (ROOT / "docs" / "kserve.md").read_text()
    for name in (*COMPONENTS, *(folder.name for folder in (MANIFESTS / "overlays").iterdir())):
        assert f"| `{name}` |" in overview, name


def test_the_overlay_that_deploy_shows_renders(tmp_path: Path) -> None:
    [example] = [block for block in blocks(HANDBOOKS[0].read_text(), "yaml") if "kind: Kustomization" in block]
    shutil.copytree(MANIFESTS, tmp_path / "moon" / "manifests")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kustomization.yaml").write_text(example)
    claims = [body for body in bodies(tmp_path / "mine") if body["kind"] == "PersistentVolumeClaim"]
    assert claims and {body["spec"]["storageClassName"] for body in claims} == {
        yaml.safe_load(yaml.safe_load(example)["patches"][0]["patch"])[0]["value"]
    }


def test_rolled_out_takes_the_service_and_nothing_else(tmp_path: Path) -> None:
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    prod = tmp_path / "manifests" / "overlays" / "prod" / "kustomization.yaml"
    before = {(body["kind"], body["metadata"]["name"]) for body in bodies(prod.parent)}
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "manifests", again / "manifests")
    path = again / "manifests" / "overlays" / "prod" / "kustomization.yaml"
    path.write_text(path.read_text().replace("components:\n", "components:\n  - ../../components/rolled-out\n"))
    after = {(body["kind"], body["metadata"]["name"]) for body in bodies(path.parent)}
    assert before - after == {("InferenceService", "moon")} and after < before
