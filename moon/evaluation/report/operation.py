"""Sections on what happened after training: the gate, the endpoint's answers, drift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from moon.evaluation.report.charts import Bar, bar_chart
from moon.evaluation.report.gallery import query_card, results
from moon.evaluation.report.html import Html, chip, el, note, section, table
from moon.evaluation.report.pictures import Pictures
from moon.evaluation.tasks import MODALITIES

Results = Mapping[str, Any]
TONES = {"ok": "good", "warn": "warn", "retrain": "bad"}
_WAYS_IN = {"openai": "/v1/embeddings", "oip_rest": "OIP REST", "oip_grpc": "OIP gRPC", "search": "/search"}
_VERDICTS = {"Met": "good", "Failed": "bad"}
_TESTS = 10
"""Tests drawn for one window, the smallest p-values first."""


def gate_section(gate: Results, registered: Results | None) -> Html:
    """The decision, its reasons and the registered version."""
    passed = gate["passed"]
    version = None
    if registered:
        version = el("p", "Registered as ", el("code", f"{registered['name']} {registered['version']}"), ".")
    return section(
        "gate",
        "Gate",
        el("p", chip("passed" if passed else "not passed", "good" if passed else "bad")),
        el("ul", [_reason(reason) for reason in gate["reasons"]], class_="plain"),
        version,
    )


def endpoint_section(deployment: Results, replay: Results | None, pictures: Pictures) -> Html:
    """What the running server answered to a text, a photo and both, and its latency under replayed traffic."""
    answers, load = deployment["answers"], None
    if replay:
        requests = sum(replay["windows"].values())
        load = note(
            f"Under replayed traffic: {requests:,} requests answered, {replay['errors']} errors, "
            f"half within {replay['p50_ms']:.0f} ms and 95 % within {replay['p95_ms']:.0f} ms."
        )
    return section(
        "endpoint",
        "The endpoint’s answers",
        el(
            "p",
            f"A KServe model server started on the trained checkpoint (revision {deployment['model_revision']}) "
            f"and was ready after {deployment['ready_seconds']:.1f} s. ",
            "Each query went in through /v1/embeddings, Open Inference Protocol REST and gRPC, and /search.",
        ),
        [_answer(kind, answers[kind], pictures) for kind in MODALITIES if kind in answers],
        load,
    )


def drift_section(drift: Results, shift: str | None, evidently: str | None) -> Html:
    """The decision on each window and the tests it rests on."""
    decisions = in_order(drift["decisions"])
    rows = [
        [
            name,
            chip(found["decision"], TONES[found["decision"]]),
            el("ul", [el("li", reason) for reason in found["reasons"]], class_="plain"),
            found["window_rows"],
            _number(found["p_value"], 4),
            _number(found["auc"], 2),
        ]
        for name, found in decisions.items()
    ]
    bars = [
        Bar(label=name, value=found["auc"], text=f"{found['auc']:.2f}", tone=TONES[found["decision"]])
        for name, found in decisions.items()
        if found["auc"] is not None
    ]
    auc = bar_chart("AUC of telling window from reference by embedding", bars, 0.5, 1.0) if bars else None
    charts = [_p_values(name, found) for name, found in decisions.items() if found["tests"]]
    return section(
        "drift",
        "Drift",
        el(
            "p",
            "Each window of replayed traffic is compared with a reference window. P-values are adjusted for all tests "
            "of a window, so a window that is like the reference is called anything but ok at most at the rate alpha.",
            f" The shift put into the window “shifted” is {shift}." if shift else None,
        ),
        table(["window", "decision", "why", "requests", "smallest p", "AUC"], rows, text_columns=3),
        el("div", auc, charts, class_="charts"),
        note(el("a", "Evidently’s report on the window that differs most", href=evidently)) if evidently else None,
    )


def _reason(reason: str) -> Html:
    """A sentence of the gate, such as "Met: ...", with its verdict as a chip."""
    verdict, separator, rest = reason.partition(": ")
    return el("li", chip(verdict, _VERDICTS.get(verdict, "plain")) if separator else None, rest or reason)


def in_order(decisions: Results) -> Results:
    """Windows from the calmest decision to the gravest."""
    return dict(sorted(decisions.items(), key=lambda item: (list(TONES).index(item[1]["decision"]), item[0])))


def _answer(kind: str, answer: Results, pictures: Pictures) -> Html:
    found = results(answer["top5"], [answer["bought_product_id"]], pictures)
    times = " · ".join(f"{_WAYS_IN.get(name, name)} {value:.0f} ms" for name, value in answer["latency_ms"].items())
    return el("article", query_card(answer, pictures, [chip(kind)]), el("div", found, note(times)), class_="example")


def _p_values(name: str, found: Results) -> Html:
    """Bars that grow as the p-value falls; past the mark a test speaks for drift."""
    tests = sorted(found["tests"], key=lambda test: test["adjusted"])[:_TESTS]
    bars = [
        Bar(
            label=test["name"],
            value=_strength(test["adjusted"]),
            text=f"p {test['adjusted']:.3f}",
            tone="bad" if test["drifted"] else "plain",
        )
        for test in tests
    ]
    alpha = _strength(found["alpha"])
    high = max([alpha * 1.25, *(bar.value for bar in bars)])
    title = f"Window “{name}”: −log10 of the adjusted p-value"
    return bar_chart(title, bars, 0.0, high, mark=(alpha, f"alpha {found['alpha']:g}"))


def _strength(p: float) -> float:
    return -math.log10(max(p, 1e-6))


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
