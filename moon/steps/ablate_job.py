"""One job of the ablation, in a process of its own: ``python -m moon.steps.ablate_job FOLDER`` reads FOLDER/job.json.

A job does what is left to do: a step whose metrics.json is there is not run again, and training goes on from its
checkpoint.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moon import telemetry
from moon.config import Params, from_dict, to_dict
from moon.steps.outcome import METRICS
from moon.threads import wait_asleep

_JOB: Final = "job.json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to do in a folder.

    Args:
        catalog: catalogue folder.
        regions: output of the regions step.
        params: the recipe, with its seeds.
        prepared: folder of the job that prepares this one; None where this one prepares.
    """

    catalog: Path
    regions: Path
    params: Params
    prepared: Path | None = None

    def save(self, folder: Path) -> None:
        """Writes ``job.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        text = {
            "catalog": str(self.catalog.absolute()),
            "regions": str(self.regions.absolute()),
            "params": to_dict(self.params),
            "prepared": str(self.prepared.absolute()) if self.prepared else None,
        }
        (folder / _JOB).write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Job:
        """Reads what `save` wrote."""
        stored = json.loads((folder / _JOB).read_text(encoding="utf-8"))
        return cls(
            catalog=Path(stored["catalog"]),
            regions=Path(stored["regions"]),
            params=from_dict(Params, stored["params"]),
            prepared=Path(stored["prepared"]) if stored["prepared"] else None,
        )


def augments(params: Params) -> bool:
    """Whether a recipe trains on augmented products; without copies the catalogue is left as it is."""
    return params.augment.copies > 0


def prepare(job: Job, out: Path) -> None:
    """Makes the starting model, its hard negatives and, if the recipe has them, the augmented products."""
    from moon.steps import initialise, mine

    catalog, regions, params, model = job.catalog, job.regions, job.params, out / "init"
    _once(model, lambda folder: initialise.run(catalog=catalog, params=params.model, out=folder))
    _once(
        out / "mine",
        lambda folder: mine.run(catalog=catalog, regions=regions, model=model, params=params.mining, out=folder),
    )
    if augments(params):
        from moon.steps import augment

        _once(
            out / "augment",
            lambda folder: augment.run(
                catalog=catalog, regions=regions, model=model, params=params.augment, out=folder, workers=1
            ),
        )


def train(job: Job, prepared: Path, out: Path) -> None:
    """Trains and measures the trained model."""
    from moon.steps import evaluate
    from moon.steps import train as training

    params = job.params
    _once(
        out / "train",
        lambda folder: training.run(
            catalog=job.catalog,
            regions=job.regions,
            negatives=prepared / "mine",
            model=prepared / "init",
            params=params.training,
            objectives=params.objectives,
            augmented=prepared / "augment" if augments(params) else None,
            out=folder,
        ),
    )
    _once(
        out / "evaluate",
        lambda folder: evaluate.run(
            catalog=job.catalog,
            regions=job.regions,
            model=out / "train" / "model",
            params=params.evaluation,
            out=folder,
            embeddings=False,
        ),
    )


def is_done(folder: Path) -> bool:
    """Whether a step's output folder is finished."""
    return (folder / METRICS).is_file()


def _once(folder: Path, step: Callable[[Path], object]) -> None:
    if not is_done(folder):
        step(folder)


def main(folder: Path) -> int:
    """Does the job of a folder and returns the exit code; the last line that it logs says what went wrong."""
    telemetry.disable()
    wait_asleep()
    logging.basicConfig(level=logging.INFO)
    job = Job.load(folder)
    try:
        if job.prepared is None:
            prepare(job, folder)
        else:
            train(job, job.prepared, folder)
    except Exception as error:
        _LOG.exception("the job in %s failed", folder)
        _LOG.error("%s: %s", type(error).__name__, " ".join(str(error).split()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
