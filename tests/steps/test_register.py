from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlparse

import pytest
import yaml

from moon.catalog.store import Catalog, folder_digest
from moon.cluster.registry import LocalRegistry
from moon.config import ServingParams
from moon.serving import lineage as served
from moon.steps import origins, outcome, register
from moon.steps.gate import GateResult
from moon.steps.register import RegisterResult
from tests.catalog.dvc_repository import write_catalog

RETRIEVAL = {"trained": {"text->product": {"R@1": {"value": 0.5, "low": 0.4, "high": 0.6}}}, "untrained": {}}
PARAMS = ServingParams()


def run(
    tmp_path: Path,
    model: Path,
    passed: bool = True,
    params: ServingParams = PARAMS,
    catalog: Path | None = None,
    images: str = "",
) -> RegisterResult:
    outcome.save(tmp_path / "gate", GateResult(passed=passed, reasons=["Failed: R@1 is too low."]))
    (tmp_path / "evaluate").mkdir(exist_ok=True)
    (tmp_path / "evaluate" / "metrics.json").write_text(json.dumps({"retrieval": RETRIEVAL}))
    return register.run(
        model=model,
        evaluation=tmp_path / "evaluate",
        gate=tmp_path / "gate",
        registry=tmp_path / "registry",
        lineage={"recipe": "abc", "run": "7"},
        params=params,
        out=tmp_path / "out",
        catalog=catalog,
        images=images,
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "train" / "model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_model_is_registered_with_its_lineage_and_measures(tmp_path: Path, model: Path) -> None:
    result = run(tmp_path, model)
    version = LocalRegistry(tmp_path / "registry").latest("moon")
    assert (result.name, result.version, result.uri) == ("moon", "v1", version.uri)
    assert result.digest == version.digest == folder_digest(model)
    assert version.lineage == {"recipe": "abc", "run": "7", **origins.of_code()} == result.lineage
    assert {name: version.lineage[name] for name in ("recipe", "run")} == {"recipe": "abc", "run": "7"}
    assert version.metadata["retrieval"] == RETRIEVAL["trained"]
    assert outcome.read(tmp_path / "out") == asdict(result)


def test_the_same_bytes_are_the_same_version(tmp_path: Path, model: Path) -> None:
    first = run(tmp_path, model)
    assert run(tmp_path, model) == first
    (model / "model.safetensors").write_bytes(b"others")
    assert run(tmp_path, model).version == "v2"


def trained(model: Path, data: str, start: str, revision: str) -> None:
    """What the train step leaves beside a model."""
    result = {"data": data, "start": start, "revision": revision}
    (model.parent / "metrics.json").write_text(json.dumps(result))
    (model / "model.safetensors").write_text(revision)


def test_the_entry_names_data_start_and_parent(tmp_path: Path, model: Path) -> None:
    catalog = write_catalog(tmp_path / "data", 3)
    digest = Catalog.open(catalog).digest()
    trained(model, digest, "000", "111")
    first = run(tmp_path, model, catalog=catalog)
    assert (first.lineage["data"], first.lineage["start"]) == (digest, "000")
    assert "parent" not in first.lineage
    trained(model, digest, "111", "222")
    second = run(tmp_path, model, catalog=catalog)
    assert second.lineage["parent"] == f"moon/v1@{first.digest}"


def test_the_server_reads_what_was_registered_from_the_folder_alone(tmp_path: Path, model: Path) -> None:
    trained(model, "d", "000", "111")
    result = run(tmp_path, model)
    mounted = shutil.copytree(Path(urlparse(result.uri).path), tmp_path / "mnt" / "models")
    facts = served.read(mounted)
    assert facts == {**result.lineage, "name": "moon", "version": "v1", "digest": result.digest}
    assert run(tmp_path, mounted).version == "v1"  # lineage.json is no part of the model


def test_a_model_of_other_data_is_refused(tmp_path: Path, model: Path) -> None:
    trained(model, "0" * 64, "000", "111")
    with pytest.raises(ValueError, match="was trained on data 0000.*give the catalogue"):
        run(tmp_path, model, catalog=write_catalog(tmp_path / "data", 3))
    assert not (tmp_path / "registry").exists()


def test_images_are_kept_by_digest_only(tmp_path: Path, model: Path) -> None:
    pinned = f"ghcr.io/x/train@sha256:{'a' * 64}"
    result = run(tmp_path, model, images=json.dumps({"train": pinned, "data": "ghcr.io/x/data:1"}))
    assert {name for name in result.lineage if name.startswith("image.")} == {"image.train"}
    assert result.lineage["image.train"] == pinned
    with pytest.raises(ValueError, match="expected a JSON object"):
        run(tmp_path, model, images="[1]")


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
