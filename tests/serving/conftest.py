"""One real server process for all tests of the room, with limits small enough to run into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from moon.catalog.store import Catalog
from moon.cluster.deployment import Endpoint, LocalDeployment, free_ports
from moon.config import RegionsParams
from moon.items import ItemSource
from moon.model import Embedder
from moon.serving import artefact
from moon.vision.decode import encode_jpeg
from tests.serving.running import LIMITS, Server, command


@pytest.fixture(scope="session")
def artefact_dir(
    tiny_catalog: Path, tiny_regions: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("artefact")
    embedder = Embedder.load(tiny_model)
    source = ItemSource(tiny_catalog, tiny_regions)
    ids = sorted(source.products)
    vectors = embedder.embed([source.product(product_id) for product_id in ids])
    settings = artefact.Settings(model_revision=embedder.revision, serving=LIMITS, regions=RegionsParams())
    products = [source.products[product_id] for product_id in ids]
    pictures = [encode_jpeg(source.product(product_id).images[0].image()) for product_id in ids]
    artefact.write(folder, settings, [artefact.Batch(products=products, vectors=vectors, pictures=pictures)])
    return folder


@pytest.fixture(scope="session")
def server(
    artefact_dir: Path,
    tiny_catalog: Path,
    tiny_regions: Path,
    tiny_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    ports = free_ports("127.0.0.1", 2)
    endpoint = Endpoint(url=f"http://127.0.0.1:{ports[0]}", grpc_url=f"127.0.0.1:{ports[1]}")
    deployment = LocalDeployment(tmp_path_factory.mktemp("server"))
    deployment.start(command(tiny_model, artefact_dir, ports), endpoint, {**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        deployment.wait_ready(120)
        embedder = Embedder.load(tiny_model)
        source = ItemSource(tiny_catalog, tiny_regions)
        ids = sorted(source.products)
        vectors = embedder.embed([source.product(product_id) for product_id in ids])
        with httpx.Client(base_url=endpoint.url, timeout=30, trust_env=False) as http:
            yield Server(endpoint, http, embedder, source, Catalog.open(tiny_catalog), ids, vectors, deployment.log)
    finally:
        deployment.stop()
