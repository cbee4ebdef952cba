"""Step: puts a model that passed the gate into the registry, and renders the manifest that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moon.catalog.store import folder_digest
from moon.cluster.inferenceservice import inference_service, to_yaml
from moon.cluster.registry import LocalRegistry, Registry
from moon.config import ServingParams
from moon.steps import outcome

MANIFEST = "inferenceservice.yaml"


@dataclass(frozen=True, kw_only=True)
class RegisterResult:
    """The registered version."""

    name: str
    version: str
    uri: str
    digest: str


def run(
    *,
    model: Path,
    evaluation: Path,
    gate: Path,
    registry: Path,
    lineage: Mapping[str, str],
    params: ServingParams,
    out: Path,
) -> RegisterResult:
    """Registers a model folder; the same bytes give the same version again.

    Args:
        model: the trained model's folder.
        evaluation: output of the evaluate step; its retrieval results are kept with the version.
        gate: output of the gate step.
        registry: folder of the registry.
        lineage: what the model was made from, such as data version and run.
        params: name of the model and the cluster form's settings.
        out: where to write the result and ``inferenceservice.yaml``.

    Raises:
        ValueError: the gate did not pass; the message has its reasons.
    """
    decision = outcome.read(gate, "passed", "reasons")
    if decision["passed"] is not True:
        raise ValueError(f"the model is not registered, the gate did not pass: {' '.join(decision['reasons'])}")
    measured = outcome.read(evaluation, "retrieval")["retrieval"]["trained"]
    store: Registry = LocalRegistry(registry)
    metadata = {"lineage": dict(lineage), "retrieval": measured, "gate": decision["reasons"]}
    version = store.register(params.model_name, model, folder_digest(model), metadata)
    body = inference_service(params, params.storage_uri or version.uri, version.version)
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).write_text(to_yaml(body), encoding="utf-8")
    return outcome.save(
        out,
        RegisterResult(name=version.name, version=version.version, uri=version.uri, digest=version.digest),
    )
