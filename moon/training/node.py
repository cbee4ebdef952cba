"""``python -m moon.training.node``: the processes of one machine in a job of several, as a TrainJob's pod starts it.

Example: python -m moon.training.node --nnodes 2 --node-rank 0 --nproc-per-node 8 --master-addr host-0
--master-port 29500 -m moon.training --catalog data ...

It takes the options of torchrun, and like it the variables ``PET_*`` that Kubeflow Trainer sets. Unlike torchrun it
ends with the exit code of the process that failed first (see `moon.training.exits`), so that whoever started it can
tell a mistake from a crash, puts the rank before every line, and names the rank that failed.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from moon.cluster.jobs import FAILED, PREFIX, RETRY_OFFSET
from moon.training import exits

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig


def main(args: Sequence[str] | None = None) -> int:
    """Runs this machine's processes and returns the exit code of the one that failed first."""
    _end_at_sigterm(_code(exits.INTERRUPTED))
    from torch.distributed.run import config_from_args, parse_args

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE", PREFIX.format(rank="${rank}"))
    given = ["--max-restarts", "0", "--tee", "3", *(sys.argv[1:] if args is None else args)]
    config, command, arguments = config_from_args(parse_args(given))
    return _code(run_processes(config, [str(command), *arguments], name_failed=True))


def _end_at_sigterm(code: int) -> None:
    """Answers SIGTERM until torch's launcher does, which is once the processes exist.

    The first process of a container gets no signal that it has not asked for, and while it waits for the other machines
    in native code no Python handler runs. So a thread waits for the byte that a signal leaves.
    """

    def early(*_: object) -> None:
        os._exit(code)

    def watch(pipe: int) -> None:
        while os.read(pipe, 1)[0] != signal.SIGTERM or signal.getsignal(signal.SIGTERM) is not early:
            pass
        os._exit(code)

    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    signal.signal(signal.SIGTERM, early)
    threading.Thread(target=watch, args=(readable,), name="early SIGTERM", daemon=True).start()


def _code(code: int) -> int:
    """What to end with: codes that ask to try again are moved where the environment says so."""
    again = code not in (exits.DONE, exits.MISTAKE, exits.DIVERGED)
    return code + int(os.environ.get(RETRY_OFFSET, "0")) if again else code


def run_processes(config: LaunchConfig, command: Sequence[str], name_failed: bool = False) -> int:
    """Runs a command in the processes that ``config`` asks for, and waits.

    Args:
        config: of torch's elastic launcher.
        command: and its arguments.
        name_failed: writes the rank that failed first to standard error.

    Returns:
        The exit code of the process that failed first; a process that a signal killed has crashed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the process itself says what failed
    try:
        elastic_launch(config, command[0])(*command[1:])
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if name_failed:
            sys.stderr.write(FAILED.format(rank=rank, code=failure.exitcode) + "\n")
        return failure.exitcode if failure.exitcode > 0 else exits.CRASHED
    except SignalException:
        return exits.INTERRUPTED
    return exits.DONE


if __name__ == "__main__":
    sys.exit(main())
