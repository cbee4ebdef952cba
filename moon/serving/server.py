"""Starts the model server.

    python -m moon.serving --model_dir MODEL --artefact_dir ARTEFACT --http_port 8080 --grpc_port 8081

Every flag of KServe's model server works too. It is ready when the port opens: the model is loaded and warm by then.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

import torch
import transformers
from fastapi.exceptions import FastAPIDeprecationWarning
from kserve import ModelServer, model_server

from moon.config import ServingParams, from_json
from moon.model import Embedder
from moon.serving import artefact, routes
from moon.serving.artefact import ProductSearch, Settings
from moon.serving.engine import Engine
from moon.serving.predictor import MoonPredictor

logger = logging.getLogger("moon.serving")


def main() -> int:
    """Serves until SIGTERM; returns the exit code."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("kserve", "kserve.trace", "uvicorn", "uvicorn.error", "uvicorn.access", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    warnings.simplefilter("ignore", FastAPIDeprecationWarning)  # KServe's own routes
    transformers.utils.logging.disable_progress_bar()
    folder = Path(arguments.artefact_dir) if arguments.artefact_dir else None
    try:
        serving = from_json(ServingParams, arguments.serving_params)
        settings = artefact.read_settings(folder) if folder else Settings(serving=serving)
        torch.set_num_threads(settings.serving.threads)
        embedder = Embedder.load(Path(arguments.model_dir))
        products = ProductSearch.load(folder, embedder.revision, embedder.dim) if folder else None
        engine = Engine(embedder, settings.serving, settings.regions)
        predictor = MoonPredictor(settings.serving.model_name, engine)
        predictor.load()
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("cannot start: %s", error)
        return 1
    _serve(arguments, settings, engine, predictor, products)
    return 0


def _serve(
    arguments: argparse.Namespace,
    settings: Settings,
    engine: Engine,
    predictor: MoonPredictor,
    products: ProductSearch | None,
) -> None:
    # KServe takes the size of gRPC messages from its own parsed flags alone.
    model_server.args.grpc_max_receive_message_length = settings.serving.max_body_bytes
    model_server.args.configure_logging = False
    server = ModelServer(
        http_port=arguments.http_port,
        grpc_port=arguments.grpc_port,
        workers=1,
        enable_latency_logging=False,
        grace_period=settings.serving.grace_seconds,
    )
    routes.install(model_server.app, server.dataplane, engine, products)
    logger.info(
        "model %s revision %s, %d products, http port %d, grpc port %d",
        predictor.name,
        engine.revision,
        len(products) if products else 0,
        arguments.http_port,
        arguments.grpc_port,
    )
    server.start([predictor])
    engine.close()
    logger.info("stopped")


def _arguments() -> argparse.Namespace:
    """Our flags beside KServe's, whose parser has read ``sys.argv`` at import already."""
    parser = argparse.ArgumentParser(prog="python -m moon.serving", parents=[model_server.parser], allow_abbrev=False)
    parser.add_argument("--model_dir", required=True, help="Folder of the trained model.")
    parser.add_argument("--artefact_dir", default="", help="Folder with the search index and the server's settings.")
    parser.add_argument(
        "--serving_params",
        default="{}",
        help="Section 'serving' of the parameters as JSON, where there is no artefact.",
    )
    return parser.parse_args()
