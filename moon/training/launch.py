"""Starting the processes of a job on this machine with torch's elastic launcher, the one behind ``torchrun``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from torch.distributed.launcher.api import LaunchConfig

from moon.config import ObjectivesParams, TrainingParams, to_dict
from moon.training.node import run_processes
from moon.training.run import Job


def arguments(job: Job, params: TrainingParams, objectives: ObjectivesParams) -> list[str]:
    """Command-line arguments of ``python -m moon.training`` that name the job."""
    paths = {name: value for name, value in vars(job).items() if value is not None}
    changes = {"training": to_dict(params), "objectives": to_dict(objectives)}
    return [
        *(part for name, path in paths.items() for part in (f"--{name}", str(path))),
        *(
            part
            for section, values in changes.items()
            for name, value in values.items()
            for part in ("--set", f"{section}.{name}={json.dumps(value)}")
        ),
    ]


def launch(args: Sequence[str], processes: int) -> int:
    """Runs ``python -m moon.training`` in several processes and waits.

    Returns:
        The exit code of the process that failed first; see `moon.training.exits`.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="moon",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    return run_processes(config, [sys.executable, "-m", "moon.training", *args])
