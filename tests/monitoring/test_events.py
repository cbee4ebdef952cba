from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from moon.monitoring.events import REQUEST, EventError, draw, from_http
from moon.monitoring.language import guess_language
from tests.monitoring.logging_agent import NOON, event, headers, search


def test_binary_mode_keeps_the_body_as_it_is():
    one = event("a-1", REQUEST, b'{"inputs": []}\x00\xff')
    assert from_http(headers(one), one.data) == one
    assert from_http(headers(one, **{"content-type": "application/octet-stream"}), one.data) == one


def test_structured_mode_is_read_too():
    one = event("a-1", REQUEST, {"text": "mug"})
    attributes = {name.removeprefix("ce-"): value for name, value in headers(one).items() if name.startswith("ce-")}
    told = json.dumps({**attributes, "data": {"text": "mug"}}).encode()
    read = from_http({"content-type": "application/cloudevents+json"}, told)
    assert (read.key, json.loads(read.data)) == (one.key, {"text": "mug"})


def test_the_service_carries_its_endpoint_and_the_time_its_zone():
    one = event("a", REQUEST, {})
    assert from_http(headers(one, **{"ce-endpoint": "canary"}), b"").service == "moon.canary"
    assert from_http(headers(one, **{"ce-endpoint": "default"}), b"").service == "moon"
    assert from_http(headers(one, **{"ce-time": "2026-11-23T13:10:00+01:00"}), b"").time == NOON
    named = {name: value for name, value in headers(one).items() if name not in ("ce-time", "ce-inferenceservicename")}
    read = from_http(named, b"")
    assert read.service == "unknown" and abs((read.time - datetime.now(UTC)).total_seconds()) < 60


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ce-type": "org.example.other"}, "KServe's logger"),
        ({"ce-id": "x" * 1001}, "characters"),
        ({"ce-inferenceservicename": "../../etc"}, "not a name"),
        ({"ce-time": "noon"}, "RFC 3339"),
        ({"ce-specversion": "9"}, "not a CloudEvent"),
    ],
)
def test_other_events_are_refused_by_what_is_wrong(change, told):
    with pytest.raises(EventError, match=told):
        from_http(headers(event("a", REQUEST, {}), **change), b"{}")


def test_request_and_response_have_one_draw_and_two_keys():
    request, response = search("a")
    assert request.key != response.key and draw(request.id) == draw(response.id)
    draws = np.array([draw(f"id-{number}") for number in range(4000)])
    assert 0 <= draws.min() and draws.max() < 1 and abs((draws < 0.3).mean() - 0.3) < 0.03


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("red mug for kids", "en"),
        ("rote Tasse für Kinder", "de"),
        ("robe noire pour femme", "fr"),
        ("赤いマグカップ", "ja"),
        ("红色马克杯", "zh"),
        ("빨간 머그", "ko"),
        ("красная кружка", "und-Cyrl"),
        ("Nike Air", "und-Latn"),
        ("12345 !?", "und"),
        ("", "und"),
    ],
)
def test_language_is_guessed_by_script_and_common_words(text, language):
    assert guess_language(text) == language
