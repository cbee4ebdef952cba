from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from moon.catalog.store import folder_digest
from moon.cluster.registry import LocalRegistry
from moon.config import ServingParams
from moon.steps import outcome, register
from moon.steps.gate import GateResult
from moon.steps.register import RegisterResult

RETRIEVAL = {"trained": {"text->product": {"R@1": {"value": 0.5, "low": 0.4, "high": 0.6}}}, "untrained": {}}
PARAMS = ServingParams()


def run(tmp_path: Path, model: Path, passed: bool = True, params: ServingParams = PARAMS) -> RegisterResult:
    outcome.save(tmp_path / "gate", GateResult(passed=passed, reasons=["Failed: R@1 is too low."]))
    (tmp_path / "evaluate").mkdir(exist_ok=True)
    (tmp_path / "evaluate" / "metrics.json").write_text(json.dumps({"retrieval": RETRIEVAL}))
    return register.run(
        model=model,
        evaluation=tmp_path / "evaluate",
        gate=tmp_path / "gate",
        registry=tmp_path / "registry",
        lineage={"data": "abc"},
        params=params,
        out=tmp_path / "out",
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_model_is_registered_with_its_lineage_and_measures(tmp_path: Path, model: Path) -> None:
    result = run(tmp_path, model)
    version = LocalRegistry(tmp_path / "registry").latest("moon")
    assert (result.name, result.version, result.uri) == ("moon", "v1", version.uri)
    assert result.digest == version.digest == folder_digest(model)
    assert version.metadata["lineage"] == {"data": "abc"}
    assert version.metadata["retrieval"] == RETRIEVAL["trained"]
    assert outcome.read(tmp_path / "out") == asdict(result)


def test_the_same_bytes_are_the_same_version(tmp_path: Path, model: Path) -> None:
    first = run(tmp_path, model)
    assert run(tmp_path, model) == first
    (model / "model.safetensors").write_bytes(b"others")
    assert run(tmp_path, model).version == "v2"


def test_the_manifest_serves_this_version(tmp_path: Path, model: Path) -> None:
    result = run(tmp_path, model)
    body = yaml.safe_load((tmp_path / "out" / "inferenceservice.yaml").read_text())
    assert body["metadata"]["labels"]["app.kubernetes.io/version"] == "v1"
    assert body["spec"]["predictor"]["model"]["storageUri"] == result.uri
    run(tmp_path, model, params=ServingParams(storage_uri="s3://bucket/model"))
    assert "s3://bucket/model" in (tmp_path / "out" / "inferenceservice.yaml").read_text()


def test_what_did_not_pass_the_gate_is_not_registered(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ValueError, match=r"gate did not pass: Failed: R@1 is too low\."):
        run(tmp_path, model, passed=False)
    assert not (tmp_path / "registry").exists()
