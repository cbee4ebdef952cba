"""A client of the server that asks one question in every protocol; what `moon deploy` checks a new server with."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

from moon.serving.batcher import Vectors
from moon.serving.oip import OUTPUT
from moon.serving.query import Query

_NO_PROXY = [("grpc.enable_http_proxy", 0)]


@dataclass(frozen=True)
class Answer:
    """One answer and how long it took."""

    value: Any
    milliseconds: float


class Client:
    """Talks to one server; proxies of the environment are not used.

    Args:
        url: REST address.
        grpc_url: gRPC address, ``host:port``; empty where gRPC is not asked.
        model_name: the model's name.
        seconds: time limit of one request.
    """

    def __init__(self, url: str, grpc_url: str, model_name: str, seconds: float = 60.0) -> None:
        self._http = httpx.Client(base_url=url, timeout=seconds, trust_env=False)
        self._grpc_url, self._model, self._seconds = grpc_url, model_name, seconds

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    @property
    def has_grpc(self) -> bool:
        """Whether the client has an address for gRPC."""
        return bool(self._grpc_url)

    def search(self, query: Query, k: int) -> Answer:
        """Body of ``/search``."""
        return self._post("/search", {"text": query.text, "image": _text(query.image), "k": k})

    def embed_openai(self, query: Query) -> Answer:
        """The (D,) vector from ``/v1/embeddings``."""
        item = {"text": query.text, "image": _text(query.image)}
        answer = self._post("/v1/embeddings", {"model": self._model, "input": [item]})
        return Answer(np.asarray(answer.value["data"][0]["embedding"], np.float32), answer.milliseconds)

    def embed_oip(self, query: Query) -> Answer:
        """The (D,) vector from the Open Inference Protocol over REST."""
        columns = {"text": query.text, "image": _text(query.image)}
        inputs = [{"name": name, "shape": [1], "datatype": "BYTES", "data": [one]} for name, one in columns.items()]
        answer = self._post(f"/v2/models/{self._model}/infer", {"inputs": inputs})
        return Answer(np.asarray(answer.value["outputs"][0]["data"], np.float32), answer.milliseconds)

    def embed_grpc(self, query: Query) -> Answer:
        """The (D,) vector from the Open Inference Protocol over gRPC."""
        started = time.perf_counter()
        vector = asyncio.run(self._infer(query))
        return Answer(vector, 1000 * (time.perf_counter() - started))

    async def _infer(self, query: Query) -> Vectors:
        image = query.image if isinstance(query.image, bytes) else query.image.encode()
        inputs = [InferInput("text", [1], "BYTES", [query.text.encode()]), InferInput("image", [1], "BYTES", [image])]
        client = InferenceGRPCClient(self._grpc_url, channel_args=_NO_PROXY, timeout=self._seconds)
        try:
            answer = await client.infer(InferRequest(self._model, inputs))
        finally:
            await client.close()
        vector: Vectors = answer.get_output_by_name(OUTPUT).as_numpy()[0]
        return vector

    def _post(self, path: str, body: dict[str, Any]) -> Answer:
        """Posts JSON.

        Raises:
            RuntimeError: the server does not answer with 200; the message holds its reason.
        """
        started = time.perf_counter()
        try:
            answer = self._http.post(path, json=body)
        except httpx.HTTPError as error:
            raise RuntimeError(f"{path} does not answer: {error}") from error
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answers {answer.status_code}: {answer.text[:500]}")
        return Answer(answer.json(), 1000 * (time.perf_counter() - started))


def _text(image: bytes | str) -> str:
    return base64.b64encode(image).decode() if isinstance(image, bytes) else image
