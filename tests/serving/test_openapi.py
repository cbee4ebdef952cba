"""The OpenAPI document is valid and complete, and the server does what it says."""

from __future__ import annotations

import contextlib
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from moon.serving.deadline import HEADER
from tests.serving.running import LIMITS, Server, b64

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
    unsupported_method,
]
"""All but the acceptance of every valid body: no schema says whether a text is the base64 of a picture."""


OPERATIONS = [
    ("POST", "/v1/embeddings"), ("POST", "/openai/v1/embeddings"), ("POST", "/search"), ("GET", "/facets"),
    ("GET", "/products/{product_id}/picture"), ("GET", "/v1/models"), ("GET", "/v1/models/{model_name}"),
    ("GET", "/openai/v1/models"), ("GET", "/openai/v1/models/{model_name}"),
    ("POST", "/v1/models/{model_name}:predict"), ("POST", "/v2/models/{model_name}/infer"),
    ("GET", "/v2/models/{model_name}"), ("GET", "/v2/models/{model_name}/ready"), ("GET", "/v2/models"), ("GET", "/v2"),
    ("GET", "/v2/health/live"), ("GET", "/v2/health/ready"), ("GET", "/metrics"), ("GET", "/"),
]  # fmt: skip


@pytest.fixture(scope="session")
def api(server: Server) -> Any:
    return schemathesis.openapi.from_url(f"{server.endpoint.url}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_server_does_what_the_document_says(api: Any, method: str, path: str, mode: GenerationMode) -> None:
    calls = 0

    @settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(data=strategies.data())
    def ask(data: strategies.DataObject) -> None:
        nonlocal calls
        try:
            case = data.draw(api[path][method].as_strategy(generation_mode=mode))
        except Unsatisfiable:
            return
        if calls % 4 and "model_name" in case.path_parameters:
            case.path_parameters["model_name"] = "moon"
        if mode is GenerationMode.POSITIVE and case.headers:
            case.headers.pop(HEADER, None)  # a deadline of a few milliseconds is rightly missed
        calls += 1
        case.call_and_validate(checks=CHECKS, timeout=30)

    with contextlib.suppress(Unsatisfiable):  # an operation without parameters has nothing to get wrong
        ask()


def described(server: Server) -> dict[str, Any]:
    tree: dict[str, Any] = server.http.get("/openapi.json").json()
    return tree


def test_every_route_is_described_once(server: Server) -> None:
    paths = described(server)["paths"]
    assert sorted((method.upper(), path) for path, methods in paths.items() for method in methods) == sorted(OPERATIONS)
    ids = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere(server: Server) -> None:
    tree = described(server)

    def visit(node: Any) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if key == "$ref":
                found: Any = tree
                for part in value.removeprefix("#/").split("/"):
                    found = found[part]
            elif isinstance(value, dict | list):
                visit(value)

    visit(tree)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/search", "/v2/models/{model_name}/infer"])
def test_a_real_answer_is_of_the_form_described(server: Server, path: str) -> None:
    image = b64(server.photo())
    bodies = {
        "/v1/embeddings": {"input": ["mug", {"image": image}, ""], "dimensions": 8},
        "/search": {"text": "mug", "image": image, "return_embedding": True},
        "/v2/models/{model_name}/infer": {
            "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["mug"]}],
            "outputs": [{"name": name} for name in ("embedding", "view", "dimensions", "error")],
        },
    }
    tree = described(server)
    schema = tree["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    answer = server.http.post(path.replace("{model_name}", "moon"), json=bodies[path])
    assert answer.status_code == 200, answer.text
    jsonschema.validate(answer.json(), {**schema, "components": tree["components"]})


def test_the_document_tells_the_limits(server: Server) -> None:
    told = described(server)["info"]["description"]
    assert f"{LIMITS.max_request_items} items" in told and f"{LIMITS.max_body_bytes} bytes" in told
