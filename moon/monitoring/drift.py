"""The decision over one window: is it like the reference, and if not, is that a reason to train again?

Every test of a window shares one set of label permutations, and `permutation.step_down` adjusts them together, so
that a window like the reference is called anything but ``ok`` in at most a share ``alpha`` of the cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from moon.config import DriftParams
from moon.monitoring import windows
from moon.monitoring.probe import ProbeComparison
from moon.monitoring.testing import EMBEDDINGS, TestResult, run_tests


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do about a window."""

    decision: str
    """``ok``, ``warn`` (look at it) or ``retrain``."""
    reasons: list[str]
    p_value: float | None
    """Smallest adjusted p-value; None where nothing was tested."""
    auc: float | None
    """Effect on the embeddings; None where they were not compared."""
    reference_rows: int
    window_rows: int
    alpha: float
    model_changed: bool
    cause: str
    """What differs from the reference: ``none``, ``data`` (the traffic), ``model`` or ``both``."""
    tests: list[TestResult]
    probe: ProbeComparison | None
    """The probe set asked anew; None where it was not."""


def compare_windows(
    reference: pa.Table, window: pa.Table, params: DriftParams, probe: ProbeComparison | None = None
) -> Decision:
    """Compares a window of traffic with the reference window.

    A test runs where the two windows together hold twice ``params.min_rows`` rows for it. What the model makes, the
    embeddings and its best answers, is compared only where one model served both windows: another model moves it
    without any drift. Whether it is one model the probe set decides; without one, the revisions that the rows name.

    Raises:
        WindowError: an embedding is zero or not finite.
        ValueError: a parameter is out of range, or the embeddings differ in length under one model.
    """
    _check(params)
    revisions = windows.revisions(reference, window)
    changed = len(revisions) > 1 if probe is None else probe.model_changed
    enough = min(len(reference), len(window)) >= params.min_rows
    results = run_tests(reference, window, params, same_model=not changed) if enough else []
    decision, reasons = _decide(results, params)
    if not enough:
        rows = f"reference {len(reference)}, window {len(window)}, needed {params.min_rows} each"
        reasons = [f"Too few rows to test: {rows}."]
    warnings = [*_of_the_model(changed, revisions, probe), *_of_the_answers(probe, params)]
    drifted = any(result.drifted for result in results)
    return Decision(
        decision="warn" if warnings and decision == "ok" else decision,
        reasons=[*warnings, *reasons],
        p_value=min((result.adjusted for result in results), default=None),
        auc=next((result.effect for result in results if result.name == EMBEDDINGS), None),
        reference_rows=len(reference),
        window_rows=len(window),
        alpha=params.alpha,
        model_changed=changed,
        cause="both" if changed and drifted else "model" if changed else "data" if drifted else "none",
        tests=results,
        probe=probe,
    )


def _of_the_model(changed: bool, revisions: list[str], probe: ProbeComparison | None) -> list[str]:
    if not changed:
        return []
    named = ", ".join(revisions) or "no revision named"
    if probe is not None:
        named = f"{probe.reference_revision} to {probe.revision}, mean distance {probe.distance:.4f} on the probe set"
    return [f"The model changed ({named}): only inputs were compared; record a new reference."]


def _of_the_answers(probe: ProbeComparison | None, params: DriftParams) -> list[str]:
    """Lost recall on the probe set; training mends neither of its causes."""
    if probe is None or probe.p_value > params.alpha:
        return []
    lost = probe.reference_recall - probe.recall
    if lost <= params.max_recall_drop:
        return []
    what = "the model" if probe.model_changed else "the index"
    return [
        f"Recall on the probe set fell from {probe.reference_recall:.2f} to {probe.recall:.2f} over {probe.queries} "
        f"queries (p {probe.p_value:.3f}): look at {what} that was deployed."
    ]


def _check(params: DriftParams) -> None:
    if not 0 < params.alpha < 1:
        raise ValueError(f"drift.alpha must lie between 0 and 1, got {params.alpha}")
    if params.permutations < 1 / params.alpha:
        raise ValueError(
            f"drift.permutations must be at least {1 / params.alpha:.0f} for alpha {params.alpha}, "
            f"got {params.permutations}"
        )


def _decide(results: list[TestResult], params: DriftParams) -> tuple[str, list[str]]:
    """The decision and a sentence for each test that speaks for it, embeddings first."""
    drifted = sorted((r for r in results if r.drifted), key=lambda r: (r.kind != "embeddings", -r.effect))
    if not drifted:
        count = len(results)
        return "ok", [f"None of {count} tests differs from the reference at a false-alarm rate of {params.alpha:g}."]
    strong = any(r.kind == "embeddings" and r.effect >= params.retrain_auc for r in drifted)
    return ("retrain" if strong else "warn"), [_reason(result, params) for result in drifted]


def _reason(result: TestResult, params: DriftParams) -> str:
    evidence = f"{result.effect_name} {result.effect:.2f}, adjusted p {result.adjusted:.3f}, {result.rows} rows"
    if result.kind == "hubness":
        fewer = "fewer" if result.effect > 0 else "more"
        return f"Answers are concentrated on {fewer} products than in the reference ({evidence})."
    if result.kind != "embeddings":
        side = "Answer" if result.name in windows.ANSWERS else "Input"
        return f"{side} '{result.name}' differs from the reference ({evidence})."
    subset = result.name.partition(":")[2]
    category = subset.removeprefix("category=")
    of = f" of requests answered from '{category}'" if category != subset else f" of {subset} requests"
    whose = f"Embeddings{of if subset else ''}"
    if result.effect >= params.retrain_auc:
        return f"{whose} have drifted ({evidence})."
    return f"{whose} have drifted, by less than the {params.retrain_auc:g} that asks for training ({evidence})."
