from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moon.monitoring.bodies import Answer, BodyError, Query, read_request, read_response

PICTURE = b"\xff\xd8 not looked into here \x00{}"
B64 = base64.b64encode(PICTURE).decode()


def raw_bytes(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def tensor(name: str, data: list[object] | bytes, datatype: str = "BYTES", shape: list[int] | None = None) -> dict:
    one = {"name": name, "datatype": datatype, "shape": shape or [2]}
    return one | ({"parameters": {"binary_data_size": len(data)}} if isinstance(data, bytes) else {"data": data})


@pytest.mark.parametrize(
    "tree",
    [
        {
            "inputs": [tensor("text", ["red mug", ""]), tensor("image", ["", B64])],
            "parameters": {"category": '["Home"]'},
        },
        {"instances": ["red mug", {"text": "", "image": {"b64": B64}}]},
        {"model": "moon", "input": ["red mug", {"image": f"data:image/jpeg;base64,{B64}"}]},
    ],
    ids=["oip", "v1", "openai"],
)
def test_every_protocol_gives_the_same_queries(tree):
    found = read_request(json.dumps(tree).encode())
    assert [(one.text, one.image, one.has_image) for one in found] == [("red mug", b"", False), ("", PICTURE, True)]
    assert {one.category for one in found} == ({("Home",)} if "inputs" in tree else {()})


def test_search_conversation_and_single_input():
    search = {"text": "mug", "image": B64, "filters": {"category": ["Home", "Mugs"]}}
    assert read_request(json.dumps(search).encode()) == [Query("mug", PICTURE, True, ("Home", "Mugs"))]
    parts = [{"type": "text", "text": "like"}, {"type": "image_url", "image_url": {"url": f"data:;base64,{B64}"}}]
    talk = {"messages": [{"role": "user", "content": parts}, {"role": "user", "content": "this"}]}
    assert read_request(json.dumps(talk).encode()) == [Query("like\nthis", PICTURE, True)]
    assert read_request(b'{"input": "mug"}') == [Query("mug")]
    far = read_request(b'{"text": "", "image": "https://shop.example/a.jpg"}')[0]
    assert far.has_image and not far.image


def test_raw_tensors_follow_the_json_whose_length_is_not_logged():
    texts, images = raw_bytes("Becher für zwei".encode(), b""), raw_bytes(b"", PICTURE)
    head = json.dumps({"id": "é", "inputs": [tensor("text", texts), tensor("image", images)]}, ensure_ascii=False)
    found = read_request(head.encode() + texts + images)
    assert [one.text for one in found] == ["Becher für zwei", ""] and found[1].image == PICTURE
    vectors = np.arange(1, 5, dtype="<f4").tobytes()
    outputs = [tensor("embedding", vectors, "FP32", [2, 2]), tensor("error", ["", "too long"])]
    answers, revision = read_response(json.dumps({"outputs": outputs, "model_version": "m1"}).encode() + vectors)
    assert revision == "m1" and answers[0].embedding.tolist() == [1, 2] and answers[1].failed


def test_every_protocol_gives_the_same_vectors():
    vector = np.array([0.5, -0.25, 2.0], "<f4")
    text = base64.b64encode(vector.tobytes()).decode()
    trees = [
        {"outputs": [tensor("embedding", vector.tolist(), "FP32", [1, 3])]},
        {"predictions": [vector.tolist()]},
        {"data": [{"object": "embedding", "index": 0, "embedding": text}]},
        {"products": [], "model_revision": "m1", "embedding": vector.tolist()},
    ]
    for tree in trees:
        (answer,), _ = read_response(json.dumps(tree).encode())
        np.testing.assert_array_equal(answer.embedding, vector)
        assert not answer.failed and answer.top_product is None


def test_answers_of_searches():
    best = {"id": "p7", "score": 0.75, "category_path": ["Home", "Mugs"]}
    (answer,), revision = read_response(json.dumps({"products": [best, {}], "model_revision": "m2"}).encode())
    assert answer == Answer(None, 0.75, "p7", ("Home", "Mugs")) and revision == "m2"
    outputs = [
        tensor("ids", ["p1", "p2", "", ""], shape=[2, 2]),
        tensor("scores", [0.9, 0.5, -1, -1], "FP32", [2, 2]),
    ]
    answers, _ = read_response(json.dumps({"outputs": outputs, "model_version": "m3"}).encode())
    assert [(one.top_product, one.top_score) for one in answers] == [("p1", 0.9), (None, None)]


def test_failed_items_are_told_from_answered_ones():
    trees = [
        {"predictions": [[1, 2], {"error": "x", "code": "y"}]},
        {"data": [{"embedding": [1, 2]}, {"embedding": [], "error": {"code": "y"}}]},
    ]
    for tree in trees:
        answers, _ = read_response(json.dumps(tree).encode())
        assert [one.failed for one in answers] == [False, True]


@pytest.mark.parametrize("data", [b"", b"\x00", b"[]", b"{}", b'{"a": 1}', b"[" * 100_000, b"NaN", b'"text"'])
def test_other_bodies_are_refused(data):
    with pytest.raises(BodyError):
        read_request(data)
    with pytest.raises(BodyError):
        read_response(data)


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner))
fields = ["inputs", "outputs", "instances", "predictions", "input", "messages", "data", "products", "text", "image"]
inner = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ["name", "shape", "data", "datatype", "parameters", "content", "image_url", "embedding", "id", "score"], values
    ),
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from([*fields, "filters", "parameters", "embedding"]), values | st.lists(inner)))
def test_whatever_comes_is_read_or_refused(tree):
    data = json.dumps(tree).encode() + b"\x05\x00\x00\x00ab"
    for read in (read_request, read_response):
        try:
            read(data)
        except BodyError:
            continue
