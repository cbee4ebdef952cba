"""Step: renders the manifest that starts a canary, or decides from its traffic what comes after it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from moon.cluster import canary as traffic
from moon.cluster import prometheus as metrics
from moon.cluster.canary import Check
from moon.cluster.inferenceservice import Revision, inference_service, predictor_name, to_yaml
from moon.cluster.registry import LocalRegistry, ModelVersion
from moon.config import ServingParams
from moon.evaluation.bootstrap import Interval
from moon.steps import outcome

MANIFEST: Final = "inferenceservice.yaml"
_MEASURE: Final = "R@10"
Verdict = Literal["start", "wait", "promote", "roll back"]


@dataclass(frozen=True, kw_only=True)
class CanaryResult:
    """What to do: apply ``inferenceservice.yaml``, which follows the verdict."""

    verdict: Verdict
    stable: str
    canary: str
    reasons: list[str]
    """One sentence for each thing that was looked at."""


def run(
    *,
    registry: Path,
    stable: str,
    canary: str,
    prometheus: str = "",
    window: str = "30m",
    params: ServingParams,
    out: Path,
) -> CanaryResult:
    """Writes the InferenceService that comes next: with the canary, with the canary promoted, or without it.

    The canary is promoted where it has had enough traffic, fails no larger a share of it, is not much slower, and no
    direction of its offline evaluation lies wholly below the stable version's. One failed condition rolls it back.

    Args:
        registry: folder of the model registry.
        stable: version that serves, such as ``v1``.
        canary: version that is tried.
        prometheus: address of the Prometheus server that scrapes both; empty to start the canary.
        window: how far back to look, as PromQL writes it.
        params: name, namespace and storage of the model, and the limits ``canary_*``.
        out: where to write the result and ``inferenceservice.yaml``.

    Raises:
        ValueError: a version is not registered, both have one address, or the window cannot be read.
        PrometheusError: Prometheus does not answer.
    """
    if not re.fullmatch(r"[1-9]\d*[smhd]", window):
        raise ValueError(f"--window {window}: expected a number and a unit of s, m, h or d, such as 30m")
    store = LocalRegistry(registry)
    old, new = store.get(params.model_name, stable), store.get(params.model_name, canary)
    before, after = revision(params, old), revision(params, new)
    trial = inference_service(params, before.storage_uri, stable, after)
    verdict: Verdict = "start"
    found: list[Check] = []
    if prometheus:
        found = [*_traffic(prometheus, window, params, stable, canary), *quality(old, new)]
        verdict = verdict_of(found)
    body = {
        "start": trial,
        "wait": trial,
        "promote": inference_service(params, after.storage_uri, canary),
        "roll back": inference_service(params, before.storage_uri, stable),
    }[verdict]
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).write_text(to_yaml(body), encoding="utf-8")
    reasons = [check.reason for check in found]
    return outcome.save(out, CanaryResult(verdict=verdict, stable=stable, canary=canary, reasons=reasons))


def revision(params: ServingParams, version: ModelVersion) -> Revision:
    """A registered version as KServe loads it."""
    return Revision(storage_uri=params.storage_uri or version.uri, version=version.version)


def _traffic(url: str, window: str, params: ServingParams, stable: str, canary: str) -> Iterator[Check]:
    ask = functools.partial(metrics.number, url)
    old, new = (
        traffic.traffic(ask, params.namespace, predictor_name(params, version), window) for version in (stable, canary)
    )
    return traffic.checks(old, new, params)


def quality(stable: ModelVersion, canary: ModelVersion) -> Iterator[Check]:
    """Offline retrieval of both, as registered, one check a direction; only measures of the same data are compared."""
    data = [version.metadata.get("lineage", {}).get("data") for version in (stable, canary)]
    if data[0] is None or data[0] != data[1]:
        yield Check(
            met=True, reason=f"Absent: {stable.version} and {canary.version} were not measured on the same data."
        )
        return
    old, new = (version.metadata.get("retrieval", {}) for version in (stable, canary))
    for direction in sorted(old.keys() & new.keys()):
        if old[direction] and new[direction] and _MEASURE in old[direction] and _MEASURE in new[direction]:
            yield _direction(direction, _interval(old[direction]), _interval(new[direction]))


def _direction(direction: str, old: Interval, new: Interval) -> Check:
    met = not old.above(new)
    return Check(
        met=met,
        reason=f"{'Met' if met else 'Failed'}: {direction} {_MEASURE} of {new.value:.3f} [{new.low:.3f}, "
        f"{new.high:.3f}] {'does not lie' if met else 'lies'} below the stable version's {old.value:.3f} "
        f"[{old.low:.3f}, {old.high:.3f}].",
    )


def _interval(measured: dict[str, Any]) -> Interval:
    return Interval(**measured[_MEASURE])


def verdict_of(found: list[Check]) -> Verdict:
    """One failed condition rolls a canary back, an open one lets it wait."""
    if any(check.met is False for check in found):
        return "roll back"
    return "promote" if all(check.met for check in found) else "wait"
