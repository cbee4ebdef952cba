"""The Open Inference Protocol v2: requests to queries, vectors to responses.

Inputs are BYTES tensors ``text`` and ``image`` of one length; an empty element is an absent side. The REST body is
read here instead of by KServe, which turns every binary tensor into UTF-8 text and so fails on pictures.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from fastapi.responses import Response
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput, deserialize_bytes_tensor

from moon.serving.batcher import Vectors
from moon.serving.errors import RequestError
from moon.serving.query import Query
from moon.serving.schemas import InferBody, Tensor, json_response, parse

INPUTS: Final = ("text", "image")
OUTPUT: Final = "embedding"
JSON_LENGTH_HEADER: Final = "inference-header-content-length"


def input_types() -> list[dict[str, Any]]:
    """Metadata of the inputs."""
    return [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in INPUTS]


def output_types(dim: int) -> list[dict[str, Any]]:
    """Metadata of the output."""
    return [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, dim]}]


def read_rest(body: bytes, headers: Mapping[str, str], model_name: str) -> InferRequest:
    """Reads a REST body, with or without the binary extension.

    Elements of a JSON tensor stay text, those of a binary tensor become bytes.

    Raises:
        RequestError: the body is not an inference request.
    """
    end = len(body)
    if (declared := headers.get(JSON_LENGTH_HEADER)) is not None:
        if not declared.isascii() or not declared.isdigit() or int(declared) > len(body):
            raise RequestError(f"{JSON_LENGTH_HEADER} is {declared!r}, the body has {len(body)} bytes")
        end = int(declared)
    parsed = parse(body[:end], InferBody)
    inputs = []
    for tensor in parsed.inputs:
        one = InferInput(tensor.name, tensor.shape, tensor.datatype, tensor.data, tensor.parameters)
        if tensor.data is None:
            one._raw_data = body[end : end + _binary_size(tensor, len(body) - end)]
            end += len(one._raw_data)
        inputs.append(one)
    asked = [RequestedOutput(one.name, one.parameters) for one in parsed.outputs or ()]
    return InferRequest(model_name, inputs, parsed.id, parameters=parsed.parameters, request_outputs=asked or None)


def write_rest(response: InferResponse) -> Response:
    """The REST form of a response, binary where that was asked for."""
    content, json_size = response.to_rest()
    if json_size is None:
        return json_response(content)
    return Response(content, media_type="application/octet-stream", headers={JSON_LENGTH_HEADER: str(json_size)})


def queries(request: InferRequest) -> list[Query]:
    """The rows of an inference request.

    Raises:
        RequestError: an unknown or repeated tensor, another datatype, lengths that differ, or text that is not UTF-8.
    """
    columns: dict[str, list[bytes | str]] = {}
    for tensor in request.inputs:
        if tensor.name not in INPUTS or tensor.name in columns:
            raise RequestError(f"inputs are 'text' and 'image', each once; got '{tensor.name}'", code="wrong_tensor")
        columns[tensor.name] = _elements(tensor)
    sizes = {name: len(values) for name, values in columns.items()}
    if not sizes:
        raise RequestError("inputs holds no tensor; expected 'text', 'image' or both", code="wrong_tensor")
    if len(set(sizes.values())) != 1:
        raise RequestError(f"inputs differ in length: {sizes}", code="wrong_tensor")
    for output in request.request_outputs or ():
        if output.name != OUTPUT:
            raise RequestError(f"the only output is '{OUTPUT}', got '{output.name}'", code="wrong_tensor")
    rows = range(next(iter(sizes.values())))
    texts, images = columns.get("text"), columns.get("image")
    return [Query(_text(texts[row], row) if texts else "", images[row] if images else b"") for row in rows]


def response(request: InferRequest, vectors: Vectors, revision: str) -> InferResponse:
    """The answer, in the encoding that the request asks for."""
    output = InferOutput(OUTPUT, list(vectors.shape), "FP32")
    output.set_data_from_numpy(vectors, binary_data=request.from_grpc)
    return InferResponse(
        response_id=request.id or str(uuid.uuid4()),
        model_name=request.model_name,
        model_version=revision,
        infer_outputs=[output],
        use_binary_outputs=request.from_grpc or request.use_binary_outputs is True,
        requested_outputs=request.request_outputs,
    )


def _binary_size(tensor: Tensor, left: int) -> int:
    size = tensor.parameters.get("binary_data_size")
    if not isinstance(size, int) or isinstance(size, bool):
        raise RequestError(f"input '{tensor.name}' has neither data nor binary_data_size", code="wrong_tensor")
    if not 0 <= size <= left:
        reason = f"input '{tensor.name}' has binary_data_size {size}, the body has {left} bytes left"
        raise RequestError(reason, code="wrong_tensor")
    return size


def _elements(tensor: InferInput) -> list[bytes | str]:
    """The elements of a BYTES tensor of shape [N] or [N, 1]."""
    name, shape = tensor.name, tensor.shape
    if tensor.datatype != "BYTES":
        raise RequestError(f"input '{name}' must be BYTES, got {tensor.datatype}", code="wrong_tensor")
    if not shape or len(shape) > 2 or (len(shape) == 2 and shape[1] != 1) or shape[0] < 0:
        raise RequestError(f"input '{name}' must have shape [N] or [N, 1], got {shape}", code="wrong_tensor")
    if tensor._raw_data is not None:
        try:
            values: list[bytes | str] = deserialize_bytes_tensor(tensor._raw_data).tolist()
        except Exception as error:  # struct.error, which has no public name in KServe
            raise RequestError(f"input '{name}' is not a BYTES tensor: {error}", code="wrong_tensor") from error
    else:
        values = [one for part in tensor.data or () for one in (part if isinstance(part, list) else [part])]
    if len(values) != shape[0]:
        raise RequestError(f"input '{name}' has shape {shape} but {len(values)} elements", code="wrong_tensor")
    for row, value in enumerate(values):
        if not isinstance(value, bytes | str):
            raise RequestError(f"input '{name}', item {row}: expected text, got {value!r:.40}", code="wrong_tensor")
    return values


def _text(value: bytes | str, row: int) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise RequestError(f"item {row}: text is not UTF-8: {error.reason}", code="bad_text") from None
