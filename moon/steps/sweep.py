"""Steps of a sweep: the trials that a grid of parameters makes, and the best of them by their evaluations."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from moon.config import parse_params, to_dict, to_json
from moon.steps import outcome

TABLE, RECIPE = "table.md", "recipe.yaml"
_SECTIONS: Final = ("training", "objectives")
_JUDGED: Final = "evaluation"
"""The same for all trials; it goes with them because KFP's local loops hand on nothing but their items."""
_SEED: Final = "training.seed"
_MOST: Final = 64


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One point of the grid, over all its seeds."""

    changes: dict[str, Any]
    """Parameter -> value."""
    values: list[float]
    """The measure with each seed."""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The trials, ranked."""

    measure: str
    best: dict[str, Any]
    """Changes of the best setting."""
    mean: float
    """Its mean over the seeds."""
    lead: float
    """By how much it is better than the second."""
    spread: float
    """Largest standard deviation of a setting over its seeds; a lead within it says little. 0 with one seed."""
    trials: int


def trials(*, recipe: str, space: str) -> list[dict[str, str]]:
    """Every combination of the values in a grid.

    Args:
        recipe: text of a parameter file.
        space: JSON object, parameter of section training or objectives -> list of values.

    Returns:
        For each trial ``changes`` and the sections ``training``, ``objectives`` and ``evaluation`` as JSON texts.

    Raises:
        ValueError: ``space`` is no such object, makes too many trials, or names an unknown parameter.
    """
    grid = _grid(space)
    made = []
    for values in itertools.product(*grid.values()):
        changes = dict(zip(grid, values, strict=True))
        params = parse_params(recipe, [f"{name}={json.dumps(value)}" for name, value in changes.items()], "recipe")
        sections = {name: to_json(getattr(params, name)) for name in (*_SECTIONS, _JUDGED)}
        made.append({"changes": json.dumps(changes), **sections})
    return made


def choose(*, evaluations: Sequence[Path], changes: Sequence[str], recipe: str, measure: str, out: Path) -> SweepResult:
    """Ranks trials by a measure, averaged over the directions and over seeds.

    Args:
        evaluations: outputs of the evaluate step, one a trial.
        changes: of the trials in the same order, JSON texts of `trials`.
        recipe: text of the parameter file that was changed.
        measure: of retrieval, such as ``MRR`` or ``R@10``.
        out: gets ``metrics.json``, ``table.md``, and ``recipe.yaml`` with the best changes.

    Raises:
        ValueError: there is not one evaluation a trial, or one lacks the measure.
    """
    if len(evaluations) != len(changes) or not changes:
        raise ValueError(f"{len(evaluations)} evaluations of {len(changes)} trials; expected one of each")
    settings = _settings([_measured(one, measure) for one in evaluations], [json.loads(one) for one in changes])
    ranked = sorted(settings, key=lambda one: -one.mean)
    out.mkdir(parents=True, exist_ok=True)
    (out / TABLE).write_text(_table(ranked, measure), encoding="utf-8")
    best = parse_params(recipe, [f"{name}={json.dumps(value)}" for name, value in ranked[0].changes.items()], "recipe")
    (out / RECIPE).write_text(yaml.safe_dump(to_dict(best), sort_keys=False), encoding="utf-8")
    return outcome.save(
        out,
        SweepResult(
            measure=measure,
            best=ranked[0].changes,
            mean=ranked[0].mean,
            lead=ranked[0].mean - ranked[1].mean if len(ranked) > 1 else 0.0,
            spread=max((statistics.stdev(one.values) for one in ranked if len(one.values) > 1), default=0.0),
            trials=len(changes),
        ),
    )


def _grid(space: str) -> dict[str, list[Any]]:
    try:
        grid = json.loads(space)
    except ValueError as error:
        raise ValueError(f"the space is not JSON ({error})") from None
    if not isinstance(grid, dict) or not grid or not all(isinstance(one, list) and one for one in grid.values()):
        raise ValueError(f'the space is {space}; expected lists by parameter, such as {{"training.seed": [0, 1]}}')
    if strange := [name for name in grid if name.partition(".")[0] not in _SECTIONS]:
        raise ValueError(f"a sweep varies parameters of {' and '.join(_SECTIONS)}, not {strange[0]}")
    count = 1
    for values in grid.values():
        count *= len(values)
    if count > _MOST:
        raise ValueError(f"the space makes {count} trials, at most {_MOST} are made; leave out values")
    return grid


def _measured(evaluation: Path, measure: str) -> float:
    """Mean of a measure over the directions that have queries."""
    found = outcome.read(evaluation, "retrieval")["retrieval"]["trained"]
    values = [one[measure]["value"] for one in found.values() if one and measure in one]
    if not values:
        raise ValueError(f"{evaluation} has no {measure}; have it in evaluation.ks, or name another measure")
    return statistics.fmean(values)


def _settings(values: Sequence[float], changes: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """Trials that differ in the seed alone are one setting."""
    seeds: dict[str, tuple[dict[str, Any], list[float]]] = {}
    for value, change in zip(values, changes, strict=True):
        kept = {name: one for name, one in change.items() if name != _SEED}
        seeds.setdefault(json.dumps(kept, sort_keys=True), (kept, []))[1].append(value)
    return [Setting(changes=kept, values=found) for kept, found in seeds.values()]


def _table(ranked: Sequence[Setting], measure: str) -> str:
    lines = [f"| setting | {measure}, mean | standard deviation | seeds |", "|---|---:|---:|---:|"]
    for one in ranked:
        name = ", ".join(f"{name}={value}" for name, value in one.changes.items()) or "as in the recipe"
        spread = f"{statistics.stdev(one.values):.4f}" if len(one.values) > 1 else ""
        lines.append(f"| {name} | {one.mean:.4f} | {spread} | {len(one.values)} |")
    return "\n".join(lines) + "\n"
