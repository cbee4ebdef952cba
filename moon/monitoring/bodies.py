"""What a logged body says: the queries of a request, and what each was answered, whichever protocol it came by.

The logger does not tell the path, so the protocol is told by the body's fields: ``POST /search``,
``POST /v1/embeddings``, V1 predict and Open Inference Protocol v2, with or without its binary extension.

Bodies of requests that failed are logged too. What cannot be read is skipped, item by item; nothing here raises for it.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

import numpy as np

_URL_SCHEMES: Final = ("http://", "https://")


class BodyError(ValueError):
    """A body is of no protocol of the model server."""


@dataclass(frozen=True)
class Query:
    """One item of a request."""

    text: str = ""
    image: bytes = field(default=b"", repr=False)
    has_image: bool = False
    """Also where the photo is named by URL or cannot be read."""
    category: tuple[str, ...] = ()
    """Category that the search was limited to."""


@dataclass(frozen=True)
class Answer:
    """What one item was answered."""

    embedding: np.ndarray | None = None
    """float32 [D]."""
    top_score: float | None = None
    top_product: str | None = None
    top_category: tuple[str, ...] | None = None
    """None where the answer names no categories."""
    failed: bool = False


def read_request(body: bytes) -> list[Query]:
    """The items of a request.

    Raises:
        BodyError: not the body of a request to the model server.
    """
    tree, tail = _json(body)
    if isinstance(tree.get("inputs"), list):
        return list(_tensor_queries(tree, tail))
    if isinstance(tree.get("instances"), list):
        return [_item(one) for one in tree["instances"]]
    if "messages" in tree:
        return [_conversation(tree["messages"])]
    if "input" in tree:
        return [_item(one) for one in (tree["input"] if isinstance(tree["input"], list) else [tree["input"]])]
    if "text" in tree or "image" in tree:
        filters = tree.get("filters")
        return [_item(tree, _path(filters.get("category") if isinstance(filters, dict) else None))]
    raise BodyError(f"no request to the model server: fields {', '.join(sorted(tree))[:200] or 'none'}")


def read_response(body: bytes) -> tuple[list[Answer], str | None]:
    """What each item was answered, and the model's revision where the protocol tells it.

    Raises:
        BodyError: not an answer of the model server.
    """
    tree, tail = _json(body)
    if isinstance(tree.get("outputs"), list):
        return _tensor_answers(tree["outputs"], tail), _name(tree.get("model_version"))
    if isinstance(tree.get("predictions"), list):
        return [_vector_answer(one) for one in tree["predictions"]], _name(tree.get("model_version"))
    if isinstance(tree.get("products"), list):
        return [_found(tree)], _name(tree.get("model_revision"))
    if isinstance(tree.get("data"), list):
        rows = [one if isinstance(one, dict) else {} for one in tree["data"]]
        return [_vector_answer(one.get("embedding")) for one in rows], None
    raise BodyError(f"no answer of the model server: fields {', '.join(sorted(tree))[:200] or 'none'}")


def _json(body: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON part of a body and the raw tensors behind it; the header that tells its length is not logged."""
    end = len(body)
    try:
        try:
            tree = json.loads(body)
        except ValueError:
            # Raw tensors behind it? Read as one character a byte, so that the end is a position in the body.
            _, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
            tree = json.loads(body[:end])
    except (ValueError, RecursionError) as error:
        raise BodyError(f"not JSON: {error}") from None
    if not isinstance(tree, dict):
        raise BodyError(f"expected a JSON object, got {type(tree).__name__}")
    return tree, body[end:]


def _item(one: Any, category: tuple[str, ...] = ()) -> Query:
    """A text, or an object of ``text`` and ``image``."""
    fields = one if isinstance(one, dict) else {"text": one}
    image = fields.get("image")
    if isinstance(image, dict):
        image = image.get("b64")
    return _query(fields.get("text"), image, category)


def _conversation(messages: Any) -> Query:
    texts, image = [], None
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else [{"text": content}]:
            if isinstance(part, dict) and isinstance(part.get("image_url"), dict):
                image = part["image_url"].get("url")
            elif isinstance(part, dict) and isinstance(part.get("text"), str):
                texts.append(part["text"])
    return _query("\n".join(texts), image)


def _query(text: Any, image: Any, category: tuple[str, ...] = ()) -> Query:
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    text = text if isinstance(text, str) else ""
    if isinstance(image, str) and image and not image.startswith(_URL_SCHEMES):
        try:
            data = base64.b64decode(image.partition(",")[2] if image.startswith("data:") else image)
        except (binascii.Error, ValueError):
            data = b""
    else:
        data = image if isinstance(image, bytes) else b""
    return Query(text, data, bool(image), category)


def _tensor_queries(tree: Mapping[str, Any], tail: bytes) -> Iterator[Query]:
    columns = {name: values for name, _, values in _tensors(tree["inputs"], tail)}
    given = tree.get("parameters")
    category = given.get("category") if isinstance(given, dict) else None
    if isinstance(category, str):
        try:
            category = json.loads(category)
        except ValueError:
            category = None
    for text, image in zip_longest(columns.get("text", []), columns.get("image", [])):
        if isinstance(image, bytes) and image[:5] == b"data:":
            image = image.decode("ascii", errors="replace")
        yield _query(text, image, _path(category))


def _tensor_answers(outputs: list[Any], tail: bytes) -> list[Answer]:
    columns = {name: (shape, values) for name, shape, values in _tensors(outputs, tail)}
    errors = columns.get("error", ([], []))[1]
    vectors, ids, scores = (_rows(*columns.get(name, ([], []))) for name in ("embedding", "ids", "scores"))
    answers = []
    for vector, products, similarities, error in zip_longest(vectors, ids, scores, errors):
        if error:
            answers.append(Answer(failed=True))
            continue
        best = _name(products[0]) if products is not None and len(products) else None
        answers.append(
            Answer(
                embedding=_vector(vector),
                top_product=best,
                top_score=_number(similarities[0]) if best and similarities is not None and len(similarities) else None,
            )
        )
    return answers


def _tensors(tensors: list[Any], tail: bytes) -> Iterator[tuple[str, list[int], list[Any]]]:
    """Name, shape and elements of each tensor; the raw ones follow the JSON in their order."""
    start = 0
    for tensor in tensors:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            continue
        parameters = tensor.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if tensor.get("data") is None and isinstance(size, int) and size >= 0:
            values = _raw(tail[start : start + size], str(tensor.get("datatype")))
            start += size
        else:
            given = tensor.get("data")
            values = [one for part in (given if isinstance(given, list) else []) for one in _flat(part)]
        shape = tensor.get("shape")
        yield tensor["name"], shape if isinstance(shape, list) else [len(values)], values


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def _raw(data: bytes, datatype: str) -> list[Any]:
    """Elements of a raw tensor: FP32, or BYTES, each behind its length in four bytes."""
    if datatype == "FP32":
        return list(np.frombuffer(data[: len(data) // 4 * 4], "<f4"))
    values: list[Any] = []
    while datatype == "BYTES" and len(data) >= 4:
        (size,) = struct.unpack_from("<I", data)
        values.append(data[4 : 4 + size])
        data = data[4 + size :]
    return values


def _rows(shape: list[int], values: list[Any]) -> list[list[Any]]:
    """The elements of a tensor of shape [N, K] as N lists."""
    if len(shape) != 2 or not all(isinstance(size, int) and size > 0 for size in shape):
        return []
    return [values[row * shape[1] : (row + 1) * shape[1]] for row in range(shape[0])]


def _found(tree: Mapping[str, Any]) -> Answer:
    """The answer of a search."""
    best = tree["products"][0] if tree["products"] and isinstance(tree["products"][0], dict) else {}
    return Answer(
        embedding=_vector(tree.get("embedding")),
        top_score=_number(best.get("score")),
        top_product=_name(best.get("id")),
        top_category=_path(best.get("category_path")) if best else None,
    )


def _vector_answer(value: Any) -> Answer:
    """A vector, its base64 form, or nothing where the item failed."""
    vector = _vector(value)
    return Answer(embedding=vector, failed=vector is None)


def _vector(value: Any) -> np.ndarray | None:
    """float32 [D]; None for what is no finite vector other than zero."""
    try:
        if isinstance(value, str):
            vector = np.frombuffer(base64.b64decode(value), "<f4")
        else:
            vector = np.asarray(value if isinstance(value, list) else [], np.float32)
    except (ValueError, TypeError, OverflowError):
        return None
    usable = vector.ndim == 1 and len(vector) and np.isfinite(vector).all() and vector.any()
    return vector if usable else None


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float | np.floating) and not isinstance(value, bool) and np.isfinite(value)
    return float(value) if usable else None


def _name(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value if isinstance(value, str) and value else None


def _path(value: Any) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
