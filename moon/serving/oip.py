"""The Open Inference Protocol v2: requests to queries, vectors to responses.

Inputs are BYTES tensors ``text`` and ``image`` of one length; an empty element is an absent side. The REST body is
read here instead of by KServe, which turns every binary tensor into UTF-8 text and so fails on pictures.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from fastapi.responses import Response
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput, deserialize_bytes_tensor, to_http_parameters
from numpy.typing import NDArray

from moon.model import View
from moon.serving.embeddings import check_dimensions, prefix
from moon.serving.engine import Embedded
from moon.serving.errors import RequestError
from moon.serving.query import Query
from moon.serving.schemas import InferBody, RequestedTensor, Tensor, json_response, parse

INPUTS: Final = ("text", "image")
OUTPUT, VIEW, DIMENSIONS, ERROR = OUTPUTS = ("embedding", "view", "dimensions", "error")
JSON_LENGTH_HEADER: Final = "inference-header-content-length"
Array: TypeAlias = NDArray[Any]
_DATATYPES: Final = {"f": "FP32", "i": "INT32", "l": "INT64", "O": "BYTES"}


def input_types() -> list[dict[str, Any]]:
    """Metadata of the inputs."""
    return [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in INPUTS]


def output_types(dim: int) -> list[dict[str, Any]]:
    """Metadata of the outputs; all but the first come when they are asked for."""
    return [
        {"name": OUTPUT, "datatype": "FP32", "shape": [-1, dim]},
        {"name": VIEW, "datatype": "BYTES", "shape": [-1]},
        {"name": DIMENSIONS, "datatype": "INT32", "shape": [1]},
        {"name": ERROR, "datatype": "BYTES", "shape": [-1]},
    ]


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
        parameters = tensor.parameters.model_dump(exclude_none=True)
        one = InferInput(tensor.name, tensor.shape, tensor.datatype, tensor.data, parameters)
        if tensor.data is None:
            one._raw_data = body[end : end + _binary_size(tensor, len(body) - end)]
            end += len(one._raw_data)
        inputs.append(one)
    all_binary = parsed.parameters.binary_data_output
    asked = [RequestedOutput(one.name, _encoding(one, all_binary)) for one in parsed.outputs or ()]
    parameters = parsed.parameters.model_dump(exclude_none=True)
    return InferRequest(model_name, inputs, parsed.id, parameters=parameters, request_outputs=asked or None)


def write_rest(response: InferResponse) -> Response:
    """The REST form of a response; outputs that hold raw bytes go behind the JSON part."""
    outputs, tail = [], []
    for output in response.outputs:
        one = {"name": output.name, "shape": output.shape, "datatype": output.datatype}
        if output._raw_data is None:
            outputs.append({**one, "data": output.data})
        else:
            outputs.append({**one, "parameters": {"binary_data_size": len(output._raw_data)}})
            tail.append(output._raw_data)
    head = {"id": response.id, "model_name": response.model_name, "model_version": response.model_version}
    answer = json_response({**head, "outputs": outputs})
    if not tail:
        return answer
    length = {JSON_LENGTH_HEADER: str(len(answer.body))}
    return Response(b"".join([answer.body, *tail]), media_type="application/octet-stream", headers=length)


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
    rows = range(next(iter(sizes.values())))
    texts, images = columns.get("text"), columns.get("image")
    return [Query(_text(texts[row], row) if texts else "", images[row] if images else b"") for row in rows]


def requested(request: InferRequest, known: Sequence[str] = OUTPUTS) -> list[str]:
    """Names of the outputs asked for; none where the request leaves it to the server.

    Raises:
        RequestError: an output that does not exist, or one asked for twice.
    """
    names = [output.name for output in request.request_outputs or ()]
    for name in names:
        if name not in known:
            raise RequestError(f"outputs are {', '.join(known)}; got '{name[:100]}'", code="wrong_tensor")
    if len(set(names)) != len(names):
        raise RequestError(f"outputs are asked for once each, got {names}", code="wrong_tensor")
    return names


def parameters(request: InferRequest) -> dict[str, Any]:
    """The request's parameters as plain values, whichever way it came."""
    return to_http_parameters(request.parameters) if request.parameters else {}


def dimensions(request: InferRequest, dim: int) -> int:
    """Length of the vectors that a request asks for.

    Raises:
        RequestError: not a whole number from 1 to the model's.
    """
    asked = parameters(request).get("dimensions")
    if asked is not None and (isinstance(asked, bool) or not isinstance(asked, int)):
        raise RequestError(f"dimensions must be 1 to {dim}, got {asked!r:.40}", param="dimensions")
    return check_dimensions(asked, dim)


def outputs(embedded: Embedded, views: Sequence[View], names: Sequence[str], dimensions: int) -> dict[str, Array]:
    """The output tensors by name, in the order asked for.

    ``error`` also comes where it was not asked for and an item failed, for the row of such an item holds zeros.
    """
    vectors = prefix(embedded.vectors, dimensions)
    known: dict[str, Array] = {
        OUTPUT: vectors,
        VIEW: np.array(views, np.object_),
        DIMENSIONS: np.array([dimensions], np.int32),
        ERROR: np.array([error.reason if error else "" for error in embedded.errors], np.object_),
    }
    wanted = list(names) or [OUTPUT]
    if any(embedded.errors) and ERROR not in wanted:
        wanted.append(ERROR)
    return {name: known[name] for name in wanted}


def response(request: InferRequest, tensors: Mapping[str, Array], revision: str) -> InferResponse:
    """The answer, in the encoding that the request asks for; gRPC always gets raw bytes.

    Args:
        request: what is answered.
        tensors: outputs by name; FP32, INT32, INT64, or text as objects.
        revision: the model's revision.
    """
    asked = {output.name: bool(output.binary_data) for output in request.request_outputs or ()}
    otherwise = parameters(request).get("binary_data_output") is True
    outputs = []
    for name, values in tensors.items():
        output = InferOutput(name, list(values.shape), _DATATYPES[values.dtype.char])
        if request.from_grpc or asked.get(name, otherwise):
            output.set_data_from_numpy(_encoded(values) if output.datatype == "BYTES" else values)
        else:
            output.data = values.ravel().tolist() if output.datatype == "BYTES" else np.ravel(values)
        outputs.append(output)
    return InferResponse(request.id or str(uuid.uuid4()), request.model_name, outputs, revision)


def _encoded(texts: Array) -> Array:
    """An array of texts as one of their UTF-8 bytes."""
    values = np.empty(texts.shape, np.object_)
    values.ravel()[:] = [text.encode() for text in texts.flat]
    return values


def _encoding(output: RequestedTensor, otherwise: bool) -> dict[str, Any]:
    binary = output.parameters.binary_data
    return {"binary_data": otherwise if binary is None else binary}


def _binary_size(tensor: Tensor, left: int) -> int:
    size = tensor.parameters.binary_data_size
    if size is None:
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
