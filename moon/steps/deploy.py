"""Step: starts the real model server on a trained model, asks it real questions and keeps its answers."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
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
from moon.steps.purchases import usable_purchases

if TYPE_CHECKING:
    from moon.items import ItemSource
    from moon.serving.artefact import Settings
    from moon.serving.client import Client

ARTEFACT, SERVER = "artefact", "server"
"""Folders in the step's output: the search artefact, and the process's state and log."""
_TOP: Final = 5
_TOLERANCE: Final = 1e-4
"""How far embeddings of one input may differ between protocols."""
_POLL_SECONDS: Final = 0.1
_REVIVE_SECONDS: Final = 120.0
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
    index_revision: str
    """Name of the index's content."""
    index: str
    """Kind of index, exact or approximate."""
    index_recall: float
    """Recall of the index against exact search."""
    answers: dict[str, dict[str, Any]]
    """text, image and both -> the query, its top 5, the latencies, and the agreement between protocols."""


@dataclass(frozen=True, kw_only=True)
class SwapResult:
    """The new index of a running server."""

    url: str
    model_revision: str
    products: int
    index_revision: str
    index: str
    index_recall: float
    swap_seconds: float
    """From written to served."""


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
    from moon.serving.building import build

    stop(out)
    embedder = Embedder.load(model)
    source = ItemSource(catalog, regions, embedder.processor.max_images)
    build(embedder, source, usable_purchases(source, catalog), params, regions_params, out / ARTEFACT)
    return serve(model=model, artefact=out / ARTEFACT, catalog=catalog, regions=regions, out=out)


def serve(*, model: Path, artefact: Path, catalog: Path, regions: Path, out: Path) -> DeployResult:
    """Starts ``moon.serving`` on an artefact that is there and questions it; the server stays when we end.

    Args:
        model: folder of the model that the artefact was made with.
        artefact: search artefact; the server's parameters are those in it.
        catalog: catalogue folder that it was made of.
        regions: output of the regions step.
        out: as for `run`.

    Raises:
        DeploymentError: the server did not start; the message ends with its log.
        RuntimeError: it gave a wrong answer or none; it is stopped then.
    """
    from moon.items import ItemSource
    from moon.serving.artefact import read_settings
    from moon.serving.client import Client

    stop(out)
    settings = read_settings(artefact)
    params = settings.serving
    source = ItemSource(catalog, regions)
    deployment = LocalDeployment(out / SERVER)
    endpoint = _endpoint(params)
    try:
        pid = deployment.start(_command(model, artefact, endpoint), endpoint, {**os.environ, **_ENVIRONMENT})
        seconds = deployment.wait_ready(params.startup_seconds)
        with Client(endpoint.url, endpoint.grpc_url, params.model_name) as client:
            answers = ask(client, source, catalog)
    except BaseException:
        deployment.stop()
        raise
    return outcome.save(
        out,
        DeployResult(
            url=endpoint.url,
            grpc_url=endpoint.grpc_url,
            pid=pid,
            model_revision=settings.model_revision,
            ready_seconds=seconds,
            answers=answers,
            **_index(settings, source),
        ),
    )


def ask(client: Client, source: ItemSource, catalog: Path) -> dict[str, dict[str, Any]]:
    """Asks a server the first query of each kind in every protocol that the client has an address for.

    Returns:
        text, image and both -> the query, its top 5, the latencies, and the agreement between protocols.

    Raises:
        RuntimeError: the protocols do not agree.
        ValueError: the catalogue has no query.
    """
    questions = _questions(usable_purchases(source, catalog))
    return {kind: _ask(client, Catalog.open(catalog), row) for kind, row in questions.items()}


def swap(
    *,
    model: Path,
    catalog: Path,
    regions: Path,
    params: ServingParams,
    regions_params: RegionsParams,
    out: Path,
) -> SwapResult:
    """Builds the search artefact anew for the running server, which changes over to it between two requests.

    Args:
        model: folder of the model that the server runs.
        catalog: catalogue folder whose products become searchable.
        regions: output of the regions step.
        params: kind of index and size of pictures; the server keeps the limits that it was started with.
        regions_params: the detector's parameters.
        out: where `run` started the server.

    Raises:
        ValueError: no server runs there, it does not look for new artefacts, or it runs another model.
        RuntimeError: the server did not take the artefact in time, and goes on with the old one.
    """
    deployment = LocalDeployment(out / SERVER)
    if (endpoint := deployment.endpoint()) is None:
        raise ValueError(f"no server runs in {out}: start one with 'moon deploy --out {out}'")
    from moon.items import ItemSource
    from moon.model import Embedder
    from moon.serving import artefact
    from moon.serving.building import build

    before = artefact.read_settings(out / ARTEFACT)
    if not before.serving.index_poll_seconds:
        raise ValueError("the server was started with serving.index_poll_seconds=0 and looks for no new artefact")
    embedder = Embedder.load(model)
    if embedder.revision != before.model_revision:
        raise ValueError(
            f"the server in {out} runs model {before.model_revision}, {model} is {embedder.revision}; run 'moon deploy'"
        )
    known = outcome.read(out, "products", "index_revision")
    source = ItemSource(catalog, regions, embedder.processor.max_images)
    purchases = usable_purchases(source, catalog)
    settings = build(embedder, source, purchases, params, regions_params, out / ARTEFACT)
    seconds = wait_swapped(out, dataclasses.replace(settings, serving=before.serving), params.startup_seconds)
    index = _index(settings, source)
    outcome.save(out, DeployResult(**{**known, **index}))
    return SwapResult(url=endpoint.url, model_revision=embedder.revision, swap_seconds=seconds, **index)


def running(out: Path) -> bool:
    """Whether the server of an output folder runs."""
    return LocalDeployment(out / SERVER).endpoint() is not None


def wait_swapped(out: Path, settings: Settings, seconds: float) -> float:
    """Waits until the server of an output folder answers from an artefact; returns the seconds waited.

    Raises:
        ValueError: no server runs there, or it does not look for new artefacts.
        RuntimeError: it did not take the artefact in time, and goes on with the old one.
    """
    from moon.serving.client import Client

    deployment = LocalDeployment(out / SERVER)
    if (endpoint := deployment.endpoint()) is None:
        raise ValueError(f"no server runs in {out}: start one with 'moon deploy --out {out}'")
    if not settings.serving.index_poll_seconds:
        raise ValueError("the server was started with serving.index_poll_seconds=0 and looks for no new artefact")
    with Client(endpoint.url, endpoint.grpc_url, settings.serving.model_name) as client:
        return _wait_swapped(client, settings.index_revision, seconds, deployment.log)


def revive(out: Path) -> None:
    """Starts the server of an output folder again where it ended without being stopped, and waits until it is ready.

    Raises:
        DeploymentError: it did not start; the message ends with its log.
    """
    deployment = LocalDeployment(out / SERVER)
    if deployment.revive({**os.environ, **_ENVIRONMENT}):
        deployment.wait_ready(_REVIVE_SECONDS)


def stop(out: Path) -> bool:
    """Stops the server of an output folder; returns whether one was running. Safe to repeat."""
    return LocalDeployment(out / SERVER).stop()


def _index(settings: Settings, source: ItemSource) -> dict[str, Any]:
    """What results say of an index."""
    return {
        "products": len(source.products),
        "index_revision": settings.index_revision,
        "index": settings.index,
        "index_recall": settings.index_recall,
    }


def _endpoint(params: ServingParams) -> Endpoint:
    free = free_ports(params.host, 2)
    http, grpc = params.http_port or free[0], params.grpc_port or free[1]
    return Endpoint(url=f"http://{params.host}:{http}", grpc_url=f"{params.host}:{grpc}")


def _command(model: Path, artefact: Path, endpoint: Endpoint) -> list[str]:
    folders = [f"--model_dir={model.resolve()}", f"--artefact_dir={artefact.resolve()}"]
    ports = [f"--http_port={endpoint.url.rpartition(':')[2]}", f"--grpc_port={endpoint.grpc_url.rpartition(':')[2]}"]
    return [sys.executable, "-m", "moon.serving", *folders, *ports]


def _questions(purchases: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The first query of each kind."""
    found: dict[str, dict[str, Any]] = {}
    for row in purchases:
        found.setdefault(_kind(row), row)
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
    }
    if client.has_grpc:
        embedded["oip_grpc"] = client.embed_grpc(query)
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


def _wait_swapped(client: Client, revision: str, seconds: float, log: Path) -> float:
    """Waits until answers come from an index; returns the seconds waited.

    Raises:
        RuntimeError: they do not in time.
    """
    from moon.serving.query import Query

    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < seconds:
        if client.search(Query("which index"), 1).value["index_revision"] == revision:
            return waited
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"the server did not take index {revision} within {seconds:.0f} s; {log} says why")


def _spread(vectors: Iterable[Any]) -> float:
    """Largest difference between any two of the vectors in any dimension."""
    stacked_VD = np.stack(list(vectors))
    return float((stacked_VD.max(axis=0) - stacked_VD.min(axis=0)).max())
