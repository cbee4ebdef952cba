"""Step: starts the real model server on a trained model, asks it real questions and keeps its answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from moon import telemetry
from moon.catalog.store import Catalog
from moon.cluster.deployment import Endpoint, LocalDeployment, free_ports
from moon.config import RegionsParams, ServingParams
from moon.steps import outcome

if TYPE_CHECKING:
    from moon.items import ItemSource
    from moon.model import Embedder
    from moon.serving.client import Client

ARTEFACT, SERVER = "artefact", "server"
"""Folders in the step's output: the search artefact, and the process's state and log."""
_TOP: Final = 5
_TOLERANCE: Final = 1e-4
"""How far embeddings of one input may differ between protocols."""
_ENVIRONMENT: Final = {**telemetry.OFF, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, kw_only=True)
class DeployResult:
    """A running server and what it answered."""

    url: str
    grpc_url: str
    pid: int
    model_revision: str
    ready_seconds: float
    products: int
    """Products in its index."""
    answers: dict[str, dict[str, Any]]
    """text, image and both -> the query, its top 5, the latencies, and the agreement between protocols."""


def run(
    *,
    model: Path,
    catalog: Path,
    regions: Path,
    params: ServingParams,
    regions_params: RegionsParams,
    out: Path,
) -> DeployResult:
    """Builds the search artefact, starts ``moon.serving`` on it and questions it; the server stays when we end.

    Args:
        model: folder of the trained model.
        catalog: catalogue folder whose products become searchable.
        regions: output of the regions step.
        params: names, ports and limits of the server.
        regions_params: how the server finds the core region of a photo; the same as for the regions step.
        out: where to write the artefact, the server's log and the result. A server that an earlier run left here is
            stopped first.

    Raises:
        DeploymentError: the server did not start; the message ends with its log.
        RuntimeError: it gave a wrong answer or none; it is stopped then.
    """
    from moon.items import ItemSource
    from moon.model import Embedder
    from moon.serving.client import Client

    stop(out)
    embedder = Embedder.load(model)
    source = ItemSource(catalog, regions, embedder.processor.max_images)
    products = _write_artefact(embedder, source, params, regions_params, out / ARTEFACT)
    questions = _questions(source, catalog)
    deployment = LocalDeployment(out / SERVER)
    endpoint = _endpoint(params)
    try:
        pid = deployment.start(_command(model, out / ARTEFACT, endpoint), endpoint, {**os.environ, **_ENVIRONMENT})
        seconds = deployment.wait_ready(params.startup_seconds)
        with Client(endpoint.url, endpoint.grpc_url, params.model_name) as client:
            answers = {kind: _ask(client, Catalog.open(catalog), row) for kind, row in questions.items()}
    except BaseException:
        deployment.stop()
        raise
    return outcome.save(
        out,
        DeployResult(
            url=endpoint.url,
            grpc_url=endpoint.grpc_url,
            pid=pid,
            model_revision=embedder.revision,
            ready_seconds=seconds,
            products=products,
            answers=answers,
        ),
    )


def stop(out: Path) -> bool:
    """Stops the server of an output folder; returns whether one was running. Safe to repeat."""
    return LocalDeployment(out / SERVER).stop()


def _write_artefact(
    embedder: Embedder, source: ItemSource, params: ServingParams, regions: RegionsParams, folder: Path
) -> int:
    """Embeds every product and writes the artefact; returns how many there are."""
    from moon.serving import artefact

    ids = sorted(source.products)
    vectors_ND = embedder.embed(map(source.product, ids), progress="embedding products")
    settings = artefact.Settings(model_revision=embedder.revision, serving=params, regions=regions)
    artefact.write(folder, settings, [source.products[product_id] for product_id in ids], vectors_ND)
    return len(ids)


def _endpoint(params: ServingParams) -> Endpoint:
    free = free_ports(params.host, 2)
    http, grpc = params.http_port or free[0], params.grpc_port or free[1]
    return Endpoint(url=f"http://{params.host}:{http}", grpc_url=f"{params.host}:{grpc}")


def _command(model: Path, artefact: Path, endpoint: Endpoint) -> list[str]:
    folders = [f"--model_dir={model.resolve()}", f"--artefact_dir={artefact.resolve()}"]
    ports = [f"--http_port={endpoint.url.rpartition(':')[2]}", f"--grpc_port={endpoint.grpc_url.rpartition(':')[2]}"]
    return [sys.executable, "-m", "moon.serving", *folders, *ports]


def _questions(source: ItemSource, catalog: Path) -> dict[str, dict[str, Any]]:
    """The first query of each kind by id, held-out ones before those the model was trained on."""
    found: dict[str, dict[str, Any]] = {}
    for split in ("test", "val", "train"):
        for row in sorted(source.purchases(split), key=lambda row: str(row["query_id"])):
            found.setdefault(_kind(row), row)
    if not found:
        raise ValueError(f"{catalog} has no usable interactions to question the server with; see 'moon validate'")
    return {kind: found[kind] for kind in ("text", "image", "both") if kind in found}


def _kind(row: Mapping[str, Any]) -> str:
    if row["query_text"] and row["query_image_id"]:
        return "both"
    return "text" if row["query_text"] else "image"


def _ask(client: Client, catalog: Catalog, row: Mapping[str, Any]) -> dict[str, Any]:
    """One query through every way in.

    Raises:
        RuntimeError: the ways in do not agree.
    """
    from moon.serving.query import Query

    image_id = row["query_image_id"]
    query = Query(row["query_text"] or "", catalog.image_store()[image_id] if image_id else b"")
    embedded = {
        "openai": client.embed_openai(query),
        "oip_rest": client.embed_oip(query),
        "oip_grpc": client.embed_grpc(query),
    }
    difference = _spread(answer.value for answer in embedded.values())
    if not difference <= _TOLERANCE:
        raise RuntimeError(f"embeddings of query {row['query_id']} differ by {difference:g} between protocols")
    found = client.search(query, _TOP)
    products = found.value["products"]
    milliseconds = {**{name: answer.milliseconds for name, answer in embedded.items()}, "search": found.milliseconds}
    return {
        "query_id": row["query_id"],
        "query_text": row["query_text"],
        "query_image_id": image_id,
        "bought_product_id": row["product_id"],
        "top5": [{"product_id": one["id"], "title": one["title"], "score": one["score"]} for one in products],
        "bought_in_top5": row["product_id"] in [one["id"] for one in products],
        "region": found.value["region"],
        "protocol_difference": difference,
        "latency_ms": {name: round(value, 3) for name, value in milliseconds.items()},
    }


def _spread(vectors: Iterable[Any]) -> float:
    """Largest difference between any two of the vectors in any dimension."""
    stacked_VD = np.stack(list(vectors))
    return float((stacked_VD.max(axis=0) - stacked_VD.min(axis=0)).max())
