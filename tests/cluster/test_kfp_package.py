from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from moon.cluster.kfp_package import read_package

COMPILED = Path(__file__).parents[2] / "pipelines" / "compiled" / "moon-monitor.yaml"


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(COMPILED.read_text()))


def write(folder: Path, documents: list[Any]) -> Path:
    path = folder / "package.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return path


def test_a_version_follows_what_the_file_says_and_not_how(documents: list[Any], tmp_path: Path) -> None:
    first = read_package(COMPILED)
    assert first.name == "moon-monitor" and first.version.startswith("moon-monitor-")
    assert read_package(write(tmp_path, documents)).version == first.version
    documents[0]["pipelineInfo"]["description"] = "another"
    assert read_package(write(tmp_path, documents)).version != first.version
    assert read_package(write(tmp_path, documents[:1])).platform == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda docs: docs[0].update(unheardOf=1), "unheardOf"),
        (lambda docs: docs[0]["root"]["dag"].update(task={}), "task"),
        (lambda docs: next(iter(docs[0]["deploymentSpec"]["executors"].values())).update(pod={}), "pod"),
        (lambda docs: docs[0].update(schemaVersion="2.0.0"), "schemaVersion is '2.0.0', expected 2.1.0"),
        (lambda docs: docs[0]["pipelineInfo"].update(name="Moon_Train"), "'Moon_Train' must be lower-case"),
        (lambda docs: docs[0]["pipelineInfo"].update(name="m" * 64), "must be lower-case"),
        (lambda docs: docs[0].pop("root"), "has no root"),
        (lambda docs: docs.append(docs[0]), "got 2 and 1"),
        (lambda docs: docs.append(docs[1]), "got 1 and 2"),
        (lambda docs: docs.pop(0), "got 0 and 1"),
        (
            lambda docs: docs[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-windows"].update(
                nodeSelektor={}
            ),
            "nodeSelektor",
        ),
        (
            lambda docs: docs[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].update({"exec-none": {}}),
            "exec-none, which the pipeline has not",
        ),
        (lambda docs: docs.append("text"), "must be a mapping"),
    ],
)
def test_what_the_api_server_refuses_is_refused(
    change: Any, message: str, documents: list[Any], tmp_path: Path
) -> None:
    change(documents)
    with pytest.raises(ValueError, match="is no compiled pipeline") as caught:
        read_package(write(tmp_path, documents))
    assert message in str(caught.value)


def test_what_is_no_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        read_package(tmp_path / "x.yaml")
