"""Step: decides whether a model is good enough to be registered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moon.config import GateParams
from moon.evaluation.bootstrap import Interval
from moon.evaluation.comparison import VERDICTS
from moon.steps import outcome

_IMAGE = "image->product"


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """The decision and one sentence for each thing that was looked at."""

    passed: bool
    reasons: list[str]


def run(*, evaluation: Path, params: GateParams, out: Path, comparison: Path | None = None) -> GateResult:
    """Compares the results of the evaluate step with the thresholds; does not raise when they are missed.

    A direction that has too few queries, or that the untrained model answers already, is named and decides nothing, but
    something must have been measured.

    Args:
        evaluation: output of the evaluate step.
        params: the thresholds.
        out: where to write.
        comparison: output of the challenge step; where the serving model is better in one of ``params.directions``, the
            gate does not pass.

    Raises:
        ValueError: ``evaluation`` holds no results, or results without R@1 and R@10.
    """
    retrieval = outcome.read(evaluation, "retrieval")["retrieval"]
    checks = list(_checks(retrieval["trained"], retrieval["untrained"], params))
    reasons = [reason for _, reason in checks]
    beside = list(_beside(outcome.read(comparison, "first", "verdicts"), params)) if comparison else []
    reasons += [reason for _, reason in beside]
    decided = [met for met, _ in checks if met is not None]
    if not decided:
        reasons.append("Failed: no direction that the gate looks at has queries, so nothing was shown.")
    return outcome.save(
        out, GateResult(passed=bool(decided) and all(decided) and all(met for met, _ in beside), reasons=reasons)
    )


def _beside(compared: dict[str, Any], params: GateParams) -> Iterator[tuple[bool, str]]:
    """Whether each direction that the gate looks at is no worse than the serving model's."""
    if not compared["verdicts"]:
        yield True, "Absent: no model serves that this one could be compared with."
    for direction, verdict in compared["verdicts"].items():
        if direction not in params.directions:
            continue
        met = verdict != VERDICTS[-1]
        yield met, f"{_word(met)}: {direction} against the serving model {compared['first']}: {verdict}."


def _checks(
    trained: dict[str, Any], untrained: dict[str, Any], params: GateParams
) -> Iterator[tuple[bool | None, str]]:
    """Whether each condition is met, None where it cannot be judged, and the sentence that says so."""
    yield _over_chance(trained.get(_IMAGE), params.min_image_r1_over_chance)
    for direction in params.directions if params.beat_untrained else ():
        if direction not in trained:
            raise ValueError(
                f"gate.directions names '{direction}'; the evaluation has {', '.join(trained) or 'no direction'}"
            )
        yield _apart(direction, trained[direction], untrained[direction], params.min_queries)


def _over_chance(measured: dict[str, Any] | None, wanted: float) -> tuple[bool | None, str]:
    if measured is None:
        return None, f"Absent: {_IMAGE} has no queries, so its R@1 is not compared with chance."
    value, chance = _measure(measured, "R@1").value, measured["chance_r1"]
    times = value / chance
    met = times >= wanted
    return met, (
        f"{_word(met)}: {_IMAGE} R@1 of {value:.3f} is {times:.1f} times chance ({chance:.4f}); "
        f"at least {wanted:g} times is required."
    )


def _apart(
    direction: str, trained: dict[str, Any] | None, untrained: dict[str, Any] | None, min_queries: int
) -> tuple[bool | None, str]:
    if trained is None or untrained is None:
        return None, f"Absent: {direction} has no queries, so it is not compared with the untrained model."
    if trained["queries"] < min_queries:
        return None, (
            f"Open: {direction} has {trained['queries']} queries, fewer than the {min_queries} it is judged by; "
            f"R@10 is {_measure(trained, 'R@10').value:.3f}, untrained {_measure(untrained, 'R@10').value:.3f}."
        )
    new, old = _measure(trained, "R@10"), _measure(untrained, "R@10")
    if old.high >= 1 and new.value >= old.value:
        return None, (
            f"Open: {direction} R@10 is {new.value:.3f}; the untrained model's {old.value:.3f} "
            f"[{old.low:.3f}, {old.high:.3f}] reaches 1 already, so no model could lie above it."
        )
    met = new.above(old)
    return met, (
        f"{_word(met)}: {direction} R@10 of {new.value:.3f} [{new.low:.3f}, {new.high:.3f}] "
        f"{'lies above' if met else 'does not lie above'} the untrained model's "
        f"{old.value:.3f} [{old.low:.3f}, {old.high:.3f}]."
    )


def _measure(measured: dict[str, Any], name: str) -> Interval:
    if name not in measured:
        raise ValueError(f"the gate reads {name}, which was not measured; have it in evaluation.ks")
    return Interval(**measured[name])


def _word(met: bool) -> str:
    return "Met" if met else "Failed"
