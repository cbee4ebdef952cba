"""``python -m moon.training``: one training job, on one process or many, by hand, by torchrun or in a TrainJob.

Example: torchrun --nproc-per-node 8 -m moon.training --catalog data --regions runs/regions --negatives runs/mine
--model runs/init --out /shared/train --params params.yaml --set training.zero_stage=2

Started without a launcher, it starts ``training.processes`` processes itself. Exit codes: 0 done; 1 crashed, try again;
2 a mistake in what was given; 5 training diverged; 75 stopped by SIGTERM with a checkpoint, start it again to go on.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from moon import telemetry
from moon.config import load_params
from moon.progress import quiet_libraries
from moon.threads import wait_asleep
from moon.training import exits


def main(args: Sequence[str] | None = None) -> int:
    """Runs the job that ``args`` name and returns its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(exits.INTERRUPTED))  # until training answers it by itself
    given = list(sys.argv[1:] if args is None else args)
    options = _parser().parse_args(given)
    telemetry.disable()
    wait_asleep()
    quiet_libraries()
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if first else logging.WARNING, format="%(message)s", stream=sys.stderr)
    from moon.training.distributed import launched

    try:
        params = load_params(options.params, options.set or ())
        if not launched() and (params.training.processes > 1 or params.training.zero_stage):
            from moon.training.launch import launch

            return launch(given, params.training.processes)
        from moon.training.run import Job, train

        paths = {name: getattr(options, name) for name in Job.__dataclass_fields__}
        train(Job(**paths), params.training, params.objectives)
    except (exits.TrainingError, exits.Interrupted) as ended:
        return _fail(ended, ended.exit_code)
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as mistake:
        return _fail(mistake, exits.MISTAKE)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; the same command goes on from the newest checkpoint", exits.INTERRUPTED)
    return exits.DONE


def _fail(error: object, code: int) -> int:
    """One line on standard error, from one process only where all say the same."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"error: {error}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    about, _, example = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m moon.training",
        description=about,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, help_ in (
        ("catalog", "catalogue folder"),
        ("regions", "output folder of 'moon regions'"),
        ("negatives", "output folder of 'moon mine'"),
        ("model", "folder of the model to start from"),
        ("out", "where checkpoints, metrics and the model go; shared by all processes"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=help_)
    parser.add_argument("--augmented", type=Path, help="output folder of 'moon augment'")
    parser.add_argument("--duplicates", type=Path, help="output folder of 'moon duplicates'")
    parser.add_argument("--params", type=Path, help="parameter file; the defaults without one")
    parser.add_argument("--set", action="append", metavar="SECTION.KEY=VALUE", help="change one parameter; repeat")
    return parser


if __name__ == "__main__":
    sys.exit(main())
