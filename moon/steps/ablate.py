"""Step: trains the full recipe and the recipe with one part less at a time, and says which parts earn their place."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from moon import __version__
from moon.catalog.store import Catalog, folder_digest
from moon.config import AugmentParams, Params, parse_params, to_dict, to_json
from moon.evaluation.ablation import FirstRanks, Runs, scores
from moon.evaluation.ablation_table import DUAL, DUAL_SMALL, FULL, Row, bar_chart, markdown
from moon.steps import outcome
from moon.steps.ablate_job import Job, augments, is_done
from moon.steps.subprocesses import run_jobs

_JOB: Final = "moon.steps.ablate_job"
_SECTIONS: Final = ("model", "mining", "augment", "objectives", "training", "evaluation")
"""What a recipe is made of."""
_PLAIN: Final = (
    "objectives.hard_negatives=0",
    "objectives.memory_batches=0",
    "objectives.intra_weight=0",
    "objectives.query_views=as_asked",
    "objectives.filter_threshold=0",
)
_DENSE: Final = ("model.moe_layers=[]",)
REMOVALS: Final[Mapping[str, tuple[str, ...]]] = {
    "no mixture of experts": _DENSE,
    "unguided experts": ("model.routing=free",),
    "no core crop": ("model.crop_pixels=0",),
    "no hard negatives": _PLAIN[:1],
    "no memory bank": _PLAIN[1:2],
    "no dual-level alignment": _PLAIN[2:4],
    "no filtering": _PLAIN[4:],
    "no augmentation": ("augment.copies=0", "augment.enrich_titles=false"),
}
"""Recipe -> what it changes in the full one. The dual encoder comes beside these, see `recipes`."""


@dataclass(frozen=True, kw_only=True)
class AblateResult:
    """What was trained and found; table.md and results.json hold the numbers."""

    recipes: int
    runs: int
    """Trained and measured, those of an earlier call included."""
    left_out: list[str]
    """Recipes that equal the full one."""
    failed: dict[str, str]
    """Recipe and seed -> why."""
    verdicts: dict[str, dict[str, str]]
    """Recipe -> direction -> what the part that it lacks does for R@10."""


def run(
    *,
    catalog: Path,
    regions: Path,
    params: Params,
    seeds: Sequence[int],
    out: Path,
    workers: int = 2,
    only: Sequence[str] = (),
) -> AblateResult:
    """Trains and measures every recipe with every seed and compares them.

    Writes table.md, results.json and chart.svg. Every run is a process with one CPU thread; a run that fails is
    reported and the others go on. Called again with the same ``out``, it does what is missing: a run's folder is named
    by a digest of its parameters and its data.

    Args:
        catalog: catalogue folder.
        regions: output of the regions step.
        params: the full recipe.
        seeds: each is model.seed and training.seed of one run a recipe.
        out: output folder.
        workers: runs at a time.
        only: recipes to compare with the full one; empty takes all.

    Raises:
        ValueError: no seed or one twice, a recipe that there is not, or an input that cannot be read.
        AblationError: no run ended well.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"an ablation needs seeds that differ, such as 0,1,2; got {list(seeds)}")
    if workers < 1:
        raise ValueError(f"an ablation needs at least one worker, got {workers}")
    if not (regions / "regions").is_dir():
        raise ValueError(f"{regions} holds no regions; make them with 'moon regions --catalog {catalog}'")
    data = _data(catalog, regions)
    chosen, left_out = recipes(params)
    if unknown := set(only) - set(chosen) - set(left_out):
        known = ", ".join(f"'{name}'" for name in chosen)
        raise ValueError(f"there is no recipe {', '.join(map(repr, sorted(unknown)))} here; the recipes are {known}")
    if only:
        chosen = {name: recipe for name, recipe in chosen.items() if name in (FULL, *only)}
    plan = {
        (name, seed): _plan(name, _seeded(recipe, seed), data, out) for seed in seeds for name, recipe in chosen.items()
    }
    failures = _prepare(plan, catalog, regions, workers)
    prepared = {key: run for key, run in plan.items() if key not in failures}
    failures |= _train(prepared, catalog, regions, workers)
    return _report(plan, chosen, left_out, params, failures, out)


def _data(catalog: Path, regions: Path) -> str:
    """Names what all runs depend on beside their parameters."""
    return f"{__version__} {Catalog.open(catalog).digest()} {folder_digest(regions / 'regions')}"


class AblationError(RuntimeError):
    """No run ended well; the message says why the first one failed."""


def recipes(params: Params) -> tuple[dict[str, Params], list[str]]:
    """The full recipe and those with one part less, by name, and the names of those that would equal the full one.

    The dual encoder is two towers of the same depth for pictures, each a plain CLIP-like encoder, with in-batch
    negatives only. It sees a picture in as many pixels as the full recipe spends on the picture and its crop; where
    there are crops, a second one sees it as small as the full recipe sees the picture alone.
    """
    model = params.model
    layers, pixels = model.vision_layers + model.layers, model.image_pixels + model.crop_pixels
    small = ("model.fusion=late", "model.crop_pixels=0", f"model.vision_layers={layers}", *_DENSE, *_PLAIN)
    duals = {DUAL: (*small, f"model.image_pixels={pixels}")} | ({DUAL_SMALL: small} if model.crop_pixels else {})
    chosen, left_out = {FULL: params}, []
    for name, changes in (dict(REMOVALS) | duals).items():
        changed = _weighted(parse_params(yaml.safe_dump(to_dict(params)), changes, name))
        if _essence(changed) == _essence(params):
            left_out.append(name)
        else:
            chosen[name] = changed
    return chosen, left_out


def _weighted(params: Params) -> Params:
    """Learned weights belong to modality-driven experts; a recipe without those weights by count."""
    if params.objectives.weighting != "learned" or (params.model.moe_layers and params.model.routing == "modality"):
        return params
    return dataclasses.replace(params, objectives=dataclasses.replace(params.objectives, weighting="by_count"))


def _essence(params: Params) -> Params:
    """The recipe without what has no effect: the routing of no experts, the titles of no augmentation."""
    if not params.model.moe_layers:
        params = dataclasses.replace(params, model=dataclasses.replace(params.model, routing="free"))
    if not augments(params):
        params = dataclasses.replace(params, augment=AugmentParams())
    return params


def _seeded(params: Params, seed: int) -> Params:
    return dataclasses.replace(
        params,
        model=dataclasses.replace(params.model, seed=seed),
        training=dataclasses.replace(params.training, seed=seed, threads=1),
    )


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """One run and where it is made."""

    params: Params
    prepared: Path
    folder: Path

    @property
    def done(self) -> bool:
        return is_done(self.folder / "evaluate")


def _plan(name: str, params: Params, data: str, out: Path) -> _Planned:
    """Folders named by what their content depends on; recipes with one model share what is prepared for it."""
    augment = to_json(params.augment) if augments(params) else ""
    first = _digest(data, to_json(params.model), to_json(params.mining), augment)
    rest = _digest(first, *(to_json(section) for section in (params.training, params.objectives, params.evaluation)))
    slug = re.sub(r"\W+", "-", name)
    folder = out / "runs" / f"{slug}-seed{params.training.seed}-{rest}"
    return _Planned(params=params, prepared=out / "prepared" / first, folder=folder)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


Plan = Mapping[tuple[str, int], _Planned]
Failures = dict[tuple[str, int], str]


def _prepare(plan: Plan, catalog: Path, regions: Path, workers: int) -> Failures:
    """Makes starting models and hard negatives of the runs that are not done."""
    needed = {run.prepared: run.params for run in plan.values() if not run.done}
    for folder, params in needed.items():
        Job(catalog=catalog, regions=regions, params=params).save(folder)
    reasons = run_jobs(_JOB, list(needed), workers, "preparing")
    return {key: why for key, run in plan.items() if not run.done and (why := reasons[run.prepared])}


def _train(plan: Plan, catalog: Path, regions: Path, workers: int) -> Failures:
    """Trains and measures the runs that are not done."""
    ready = {run.folder: run for run in plan.values() if not run.done}
    for folder, run in ready.items():
        Job(catalog=catalog, regions=regions, params=run.params, prepared=run.prepared).save(folder)
    reasons = run_jobs(_JOB, list(ready), workers, "training and measuring")
    return {key: why for key, run in plan.items() if (why := reasons.get(run.folder))}


def _report(
    plan: Plan, chosen: Mapping[str, Params], left_out: list[str], params: Params, failures: Failures, out: Path
) -> AblateResult:
    found: dict[str, Runs] = {
        name: {seed: _ranks(run.folder) for (owner, seed), run in plan.items() if owner == name and run.done}
        for name in chosen
    }
    if not any(found.values()):
        raise AblationError(f"no run ended well; the first failed with: {next(iter(failures.values()))}")
    rows = [
        Row(
            name=name,
            changes=_changes(params, recipe),
            scores=scores(found[name], found[FULL], params.evaluation) if found[name] else (),
            failures={seed: why for (owner, seed), why in failures.items() if owner == name},
        )
        for name, recipe in chosen.items()
    ]
    recipe = {section: to_dict(getattr(params, section)) for section in _SECTIONS}
    text = markdown(rows, left_out, yaml.safe_dump(recipe, sort_keys=False), params.evaluation)
    (out / "table.md").write_text(text, encoding="utf-8")
    (out / "chart.svg").write_text(bar_chart(rows), encoding="utf-8")
    results = {"recipe": recipe, "left_out": left_out, "recipes": [_plain(row) for row in rows]}
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return outcome.save(
        out,
        AblateResult(
            recipes=len(chosen),
            runs=sum(map(len, found.values())),
            left_out=left_out,
            failed={f"{name}, seed {seed}": why for (name, seed), why in failures.items()},
            verdicts={row.name: _verdicts(row) for row in rows if row.name != FULL and row.scores},
        ),
    )


def _ranks(folder: Path) -> dict[str, FirstRanks]:
    stored = json.loads((folder / "evaluate" / "ranks.json").read_text(encoding="utf-8"))
    names = ("query_ids", "products", "ranks")
    return {direction: FirstRanks(**{name: entry[name] for name in names}) for direction, entry in stored.items()}


def _changes(full: Params, recipe: Params) -> tuple[str, ...]:
    """What differs, as overrides."""
    before, after = to_dict(full), to_dict(recipe)
    return tuple(
        f"{section}.{name}={json.dumps(value)}"
        for section in _SECTIONS
        for name, value in after[section].items()
        if before[section][name] != value
    )


def _verdicts(row: Row) -> dict[str, str]:
    return {
        score.direction: score.difference.verdict
        for score in row.scores
        if score.difference is not None and score.k == 10
    }


def _plain(row: Row) -> dict[str, Any]:
    """A row as JSON holds it."""
    return {
        "name": row.name,
        "changes": list(row.changes),
        "failures": row.failures,
        "scores": [
            dataclasses.asdict(score)
            | {"sd": score.sd, "verdict": score.difference.verdict if score.difference else None}
            for score in row.scores
        ],
    }
