"""Five thousand bodies that nobody would send: never a 5xx, never a hang, and the server goes on as before."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import random
from collections import Counter
from typing import Any

import httpx
from PIL import Image

from tests.serving.running import Server, b64

BODIES, CLIENTS = 5000, 8
ROUTES = {
    "/v1/embeddings": {"model": "moon", "input": ["mug", {"text": "red", "image": "PICTURE"}], "dimensions": 8},
    "/openai/v1/embeddings": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "mug"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,PICTURE"}},
                ],
            }
        ],
        "encoding_format": "base64",
    },
    "/search": {
        "text": "mug",
        "image": "PICTURE",
        "k": 5,
        "filters": {"category": ["home"], "attributes": {"colour": ["red"]}},
        "return_embedding": True,
    },
    "/v2/models/moon/infer": {
        "id": "1",
        "parameters": {"binary_data_output": True, "dimensions": 8},
        "inputs": [
            {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["mug", ""]},
            {"name": "image", "shape": [2, 1], "datatype": "BYTES", "data": [["PICTURE"], ["PICTURE"]]},
        ],
        "outputs": [{"name": "embedding", "parameters": {"binary_data": True}}, {"name": "error"}],
    },
    "/v2/models/moon-search/infer": {
        "parameters": {"k": 3, "category": ["home"], "attributes": {"colour": ["red"]}},
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["mug"]}],
    },
    "/v1/models/moon:predict": {"instances": ["mug", {"text": "red", "image": {"b64": "PICTURE"}}]},
}
JUNK: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 1e308, 1.5, "", " ", "\u0000", "\ud7ff\U0010ffff", "x" * 5000, [],
    {}, [[]], [None], {"a": {}}, {"": ""}, ["mug"] * 13, [[[["mug"]]]], "NaN", "http://127.0.0.1/", "file:///etc/passwd",
    "data:,", "data:image/png;base64,", "BYTES", "FP32", "embedding", "text", "\u202e", "<|image_pad|>", "-1", "1e999",
]  # fmt: skip


def picture(random: random.Random) -> bytes:
    buffer = io.BytesIO()
    size = random.choice([(1, 1), (2, 2), (2, 300), (30, 20), (64, 64)])
    mode = random.choice(["RGB", "L", "P", "RGBA", "1", "I;16"])
    Image.new(mode, size).save(buffer, "PNG" if mode in ("RGBA", "I;16", "P", "1") else random.choice(["JPEG", "PNG"]))
    data = bytearray(buffer.getvalue())
    for _ in range(random.choice([0, 0, 1, 5, 50])):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data[: random.choice([len(data)] * 3 + [random.randrange(1, len(data))])])


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path] * bool(path) + [place for key, value in children for place in places(value, (*path, key))]


def mutated(random: random.Random, tree: Any) -> Any:
    tree = copy.deepcopy(tree)
    for _ in range(random.choice([0, 1, 1, 1, 2, 4])):
        known = places(tree)
        if not known:
            break
        *above, last = random.choice(known)
        parent = tree
        for key in above:
            parent = parent[key]
        match random.choice(["replace", "replace", "remove", "repeat", "rename", "swap"]):
            case "replace":
                parent[last] = copy.deepcopy(random.choice(JUNK))
            case "remove":
                del parent[last]
            case "repeat" if isinstance(parent, list):
                parent.extend([copy.deepcopy(parent[last])] * random.choice([1, 3, 40]))
            case "rename" if isinstance(parent, dict):
                parent[str(random.choice(JUNK))[:20]] = parent.pop(last)
            case _:
                parent[last] = random.choice([[parent[last]], {"a": parent[last]}, str(parent[last])])
    return tree


def body(random: random.Random, tree: Any) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(mutated(random, tree)).replace("PICTURE", b64(picture(random)))
    data, headers = bytearray(text.encode("utf-8", "surrogatepass")), {"Content-Type": "application/json"}
    match random.randrange(12):
        case 0:
            for _ in range(random.choice([1, 3, 30])):
                data[random.randrange(len(data))] = random.randrange(256)
        case 1:
            del data[random.randrange(len(data)) :]
        case 2:
            data = bytearray(random.randbytes(random.choice([0, 1, 100, 5000])))
        case 3:
            headers["Content-Type"] = random.choice(["text/plain", "application/cloudevents+json", "a/b; c=", ""])
        case 4:
            headers["Inference-Header-Content-Length"] = str(random.choice([len(data), 0, -1, len(data) // 2, 10**9]))
        case 5:
            headers |= {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "x", "ce-type": "y"}
        case 6:
            headers["x-request-timeout-ms"] = random.choice(["0", "-1", "1e3", "9" * 30, "60000", "²"]).encode()
    return bytes(data), headers


async def bombard(url: str, seed: int, count: int, seen: Counter[int]) -> None:
    chance = random.Random(seed)
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        for _ in range(count):
            path = chance.choice(list(ROUTES))
            content, headers = body(chance, ROUTES[path])
            answer = await http.post(path, content=content, headers=headers)
            assert answer.status_code < 500, (path, content[:2000], headers, answer.text[:500])
            if answer.status_code != 200:
                error = answer.json()["error"]
                assert error["message"] if "embeddings" in path else error, (path, content[:500])
            seen[answer.status_code] += 1


def test_no_body_makes_the_server_fail(server: Server) -> None:
    async def run() -> Counter[int]:
        seen: Counter[int] = Counter()
        share = BODIES // CLIENTS
        await asyncio.gather(*(bombard(server.endpoint.url, seed, share, seen) for seed in range(CLIENTS)))
        return seen

    before = server.http.post("/v1/embeddings", json={"input": "red mug"}).json()["data"]
    seen = asyncio.run(run())
    assert seen.total() == BODIES // CLIENTS * CLIENTS
    assert seen[200] > BODIES / 20 and seen[400] > BODIES / 5  # both sides of the border are tried
    assert server.http.post("/v1/embeddings", json={"input": "red mug"}).json()["data"] == before
    assert server.http.get("/v2/health/ready").status_code == 200
    assert "Traceback" not in server.log.read_text()
