"""How a training process ends: exit codes that tell whether trying again makes sense, and the errors behind them."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
CRASHED: Final = 1
"""Something broke that may not break again: a lost machine, a full disk, no memory. Try again."""
MISTAKE: Final = 2
"""A parameter or an input is wrong. Do not try again."""
DIVERGED: Final = 5
"""The loss is no number, or no batch has a negative; the same run would end the same way. Do not try again."""
INTERRUPTED: Final = 75
"""SIGTERM came and the checkpoint is written (EX_TEMPFAIL). Try again; the run goes on."""


class TrainingError(RuntimeError):
    """Training cannot go on and would not if it were tried again; the message says at which step and why."""

    exit_code = DIVERGED


class Interrupted(RuntimeError):
    """SIGTERM came; the checkpoint is written and the same command goes on from it."""

    exit_code = INTERRUPTED


class Crashed(RuntimeError):
    """A process ended for a reason of its own."""

    exit_code = CRASHED
