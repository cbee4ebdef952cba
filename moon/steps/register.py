"""Step: puts a model that passed the gate into the registry, and renders the manifest that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moon.catalog.store import folder_digest
from moon.cluster.inferenceservice import inference_service, to_yaml
from moon.cluster.lineage import checked
from moon.cluster.registry import LINEAGE_FILE, LocalRegistry, Registry
from moon.config import ServingParams
from moon.steps import origins, outcome

MANIFEST = "inferenceservice.yaml"


@dataclass(frozen=True, kw_only=True)
class RegisterResult:
    """The registered version."""

    name: str
    version: str
    uri: str
    digest: str
    lineage: dict[str, str]
    """What it was made from, by the names of `moon.cluster.lineage.KEYS`."""


def run(
    *,
    model: Path,
    evaluation: Path,
    gate: Path,
    registry: Path,
    lineage: Mapping[str, str],
    params: ServingParams,
    out: Path,
    catalog: Path | None = None,
    images: str = "",
) -> RegisterResult:
    """Registers a model folder; the same bytes give the same version again.

    Its entry, and ``lineage.json`` in the registered folder, name what it was made from: the facts of ``lineage``, and
    what the catalogue, the train step, the running code and the registry tell.

    Args:
        model: the trained model's folder.
        evaluation: output of the evaluate step; its retrieval results are kept with the version.
        gate: output of the gate step.
        registry: folder of the registry.
        lineage: facts by the names of `moon.cluster.lineage.KEYS`, such as recipe and run.
        params: name of the model and the cluster form's settings.
        out: where to write the result and ``inferenceservice.yaml``.
        catalog: the catalogue that the model was trained on.
        images: JSON object from name to container image; those named by digest are kept.

    Raises:
        ValueError: the gate did not pass, or the model was trained on other data; the message has the reasons.
    """
    decision = outcome.read(gate, "passed", "reasons")
    if decision["passed"] is not True:
        raise ValueError(f"the model is not registered, the gate did not pass: {' '.join(decision['reasons'])}")
    measured = outcome.read(evaluation, "retrieval")["retrieval"]["trained"]
    store: Registry = LocalRegistry(registry)
    metadata = {
        "lineage": _lineage(model, lineage, catalog, images, store, params.model_name),
        "retrieval": measured,
        "gate": decision["reasons"],
        "revision": origins.revision_of(model),
    }
    version = store.register(params.model_name, model, folder_digest(model, skip=(LINEAGE_FILE,)), metadata)
    body = inference_service(params, params.storage_uri or version.uri, version.version)
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).write_text(to_yaml(body), encoding="utf-8")
    return outcome.save(
        out,
        RegisterResult(
            name=version.name,
            version=version.version,
            uri=version.uri,
            digest=version.digest,
            lineage=version.lineage,
        ),
    )


def _lineage(
    model: Path, given: Mapping[str, str], catalog: Path | None, images: str, store: Registry, name: str
) -> dict[str, str]:
    """All that is known of a model's making.

    Raises:
        ValueError: the model was trained on other data than is claimed.
    """
    facts = {
        **origins.of_code(),
        **origins.of_images(images),
        **(origins.of_catalog(catalog) if catalog else {}),
        **given,
    }
    trained = origins.of_training(model)
    if "data" in facts and facts["data"] != trained.get("data", facts["data"]):
        raise ValueError(
            f"{model} was trained on data {trained['data']}, {catalog or 'the lineage'} is {facts['data']}; "
            "give the catalogue that it was trained on"
        )
    facts = {**trained, **facts}
    before = [one for one in store.list(name) if facts.get("start") and one.metadata.get("revision") == facts["start"]]
    return checked({**facts, **({"parent": before[-1].entry} if before else {})})
