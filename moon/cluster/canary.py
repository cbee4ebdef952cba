"""What a canary's traffic says against the stable version's, from the metrics both servers report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from moon.config import ServingParams

FAULTS: Final = "internal|not_ready|deadline"
"""Reasons of ``moon_errors_total`` that are the server's fault; a bad request says nothing of the model."""
_STAGES: Final = ("preprocess", "queue", "forward", "postprocess")


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """One predictor's requests over a window."""

    items: float
    """Items answered."""
    failures: float
    """Items or requests that failed by the server's fault."""
    seconds: float | None
    """Mean time of an item through all stages; None where nothing was measured."""

    @property
    def failure_share(self) -> float:
        """Failures among everything asked; 0 where nothing was."""
        return self.failures / (self.items + self.failures) if self.failures else 0.0


@dataclass(frozen=True, kw_only=True)
class Check:
    """One condition of a promotion."""

    met: bool | None
    """None where it cannot be judged yet."""
    reason: str


def traffic(ask: Callable[[str], float | None], namespace: str, predictor: str, window: str) -> Traffic:
    """Reads one predictor's traffic.

    Args:
        ask: answers a PromQL query with a number or None.
        namespace: of the InferenceService.
        predictor: name of the predictor's Deployment, the label that the PodMonitor sets.
        window: how far back, as PromQL writes it, such as ``30m``.
    """
    series = f'namespace="{namespace}",predictor="{predictor}"'
    stages = [ask(_mean(f"moon_{stage}_seconds", series, window)) for stage in _STAGES]
    known = [seconds for seconds in stages if seconds is not None]
    return Traffic(
        items=ask(_total(f"moon_items_total{{{series}}}", window)) or 0.0,
        failures=ask(_total(f'moon_errors_total{{{series},reason=~"{FAULTS}"}}', window)) or 0.0,
        seconds=sum(known) if known else None,
    )


def checks(stable: Traffic, canary: Traffic, params: ServingParams) -> Iterator[Check]:
    """Each condition on the traffic, its verdict and a sentence that says why."""
    asked = canary.items + canary.failures
    enough = asked >= params.canary_min_items
    yield Check(
        met=enough or None,
        reason=f"{_word(enough or None)}: the canary was asked {asked:.0f} items; "
        f"at least {params.canary_min_items} are required.",
    )
    yield _failures(stable, canary, params)
    yield _speed(stable, canary, params, enough)


def _failures(stable: Traffic, canary: Traffic, params: ServingParams) -> Check:
    """May fail before there is enough traffic: where it has more failures than it could have by then."""
    limit = stable.failure_share + params.canary_max_failures
    met = canary.failures <= limit * max(canary.items + canary.failures, params.canary_min_items)
    return Check(
        met=met,
        reason=f"{_word(met)}: the canary failed {canary.failures:.0f} times, {canary.failure_share:.3%} of what it "
        f"was asked; the stable version {stable.failure_share:.3%}; at most {limit:.3%} is allowed.",
    )


def _speed(stable: Traffic, canary: Traffic, params: ServingParams, enough: bool) -> Check:
    if canary.seconds is None or stable.seconds is None:
        who = "canary" if canary.seconds is None else "stable version"
        return Check(met=None, reason=f"Open: nothing measured the {who}'s time an item.")
    limit = params.canary_max_slowdown * stable.seconds
    met = canary.seconds <= limit if enough else None
    return Check(
        met=met,
        reason=f"{_word(met)}: an item takes the canary {1000 * canary.seconds:.1f} ms and the stable version "
        f"{1000 * stable.seconds:.1f} ms; at most {1000 * limit:.1f} ms is allowed.",
    )


def _word(met: bool | None) -> str:
    return "Open" if met is None else "Met" if met else "Failed"


def _total(counter: str, window: str) -> str:
    """How much a counter grew; one that is younger than the window counts whole, as it may be born above zero."""
    return f"sum((increase({counter}[{window}]) and {counter} offset {window}) or {counter})"


def _mean(name: str, series: str, window: str) -> str:
    total, count = (f"sum(increase({name}_{part}{{{series}}}[{window}]))" for part in ("sum", "count"))
    return f"{total} / {count}"
