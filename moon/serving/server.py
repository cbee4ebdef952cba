"""Starts the model server.

    python -m moon.serving --model_dir MODEL --artefact_dir ARTEFACT --http_port 8080 --grpc_port 8081

Every flag of KServe's model server works too. It is ready when the port opens: the model is loaded and warm by then.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import kserve
import transformers
from fastapi.exceptions import FastAPIDeprecationWarning
from kserve import model_server

from moon.config import ServingParams, from_json
from moon.serving import artefact, lineage, routes, tracing
from moon.serving.artefact import Settings
from moon.serving.engine import Engine
from moon.serving.host import Server
from moon.serving.hot_swap import LiveSearch, located
from moon.serving.model_process import ModelProcess
from moon.serving.predictor import MoonPredictor
from moon.serving.remote_images import engine_kind
from moon.serving.search_predictor import SearchPredictor
from moon.serving.worker import Worker

logger = logging.getLogger("moon.serving")


def main(model: Worker | None = None) -> int:
    """Serves until SIGTERM.

    Args:
        model: the process for the model, where one has been started already.

    Returns:
        The exit code.
    """
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("kserve", "kserve.trace", "uvicorn", "uvicorn.error", "uvicorn.access", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    warnings.simplefilter("ignore", FastAPIDeprecationWarning)  # KServe's own routes
    transformers.utils.logging.disable_progress_bar()
    with contextlib.ExitStack() as open_things:
        try:
            loaded = _load(arguments, open_things, model)
        except (ValueError, OSError, RuntimeError) as error:
            logger.error("cannot start: %s", error)
            return 1
        _serve(arguments, loaded)
    logger.info("stopped")
    return 0


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """What is served."""

    engine: Engine
    live: LiveSearch | None
    models: list[kserve.Model]
    lineage: Mapping[str, str]


def _load(arguments: argparse.Namespace, open_things: contextlib.ExitStack, worker: Worker | None) -> _Loaded:
    """Loads the model and the products, warms up, and notes what is to be closed at the end.

    Raises:
        ValueError, OSError, RuntimeError: with one line that says why this cannot be served.
    """
    if tracing.setup():
        open_things.callback(tracing.shutdown)
    model_dir = Path(arguments.model_dir)
    folder = Path(arguments.artefact_dir) if arguments.artefact_dir else None
    serving = from_json(ServingParams, arguments.serving_params)
    settings = artefact.read_settings(located(folder)) if folder else Settings(serving=serving)
    params = settings.serving
    facts = lineage.read(model_dir)
    model = ModelProcess(model_dir, params.precision, params.threads, worker)
    open_things.callback(model.close)
    live = LiveSearch(folder, model.revision, model.dim, params.index_poll_seconds) if folder else None
    engine = engine_kind(params)(model, params, settings.regions, settings.centroids)
    open_things.callback(engine.close)
    models: list[kserve.Model] = [MoonPredictor(params.model_name, engine)]
    if live:
        models.append(SearchPredictor(f"{params.model_name}-search", engine, live))
        live.start()
        open_things.callback(live.close)
    for one in models:
        one.load()
    return _Loaded(engine=engine, live=live, models=models, lineage=facts)


def _serve(arguments: argparse.Namespace, loaded: _Loaded) -> None:
    """Answers until SIGTERM."""
    engine, live = loaded.engine, loaded.live
    # KServe takes the size of gRPC messages from its own parsed flags alone.
    model_server.args.grpc_max_receive_message_length = engine.params.max_body_bytes
    model_server.args.configure_logging = False
    server = Server(engine.params, arguments.http_port, arguments.grpc_port)
    routes.install(model_server.app, server.dataplane, engine, live, loaded.lineage)
    logger.info(
        "model %s revision %s, %d products, http port %d, grpc port %d",
        engine.params.model_name,
        engine.revision,
        len(live.current) if live else 0,
        arguments.http_port,
        arguments.grpc_port,
    )
    _steady()
    server.start(loaded.models)


def _steady() -> None:
    """Keeps the interpreter from stopping all requests at once.

    A full garbage collection over the imported libraries takes a third of a second; what is there now stays until the
    end and is left out of it. And the threads that talk to the processes of model and decoders get the interpreter's
    lock from a busy event loop after a tenth of the usual 5 ms.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.0005)


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
