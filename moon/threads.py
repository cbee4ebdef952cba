"""How CPU threads wait for each other."""

from __future__ import annotations

import os


def wait_asleep() -> None:
    """Lets OpenMP threads sleep at a barrier rather than spin; call it before torch is imported.

    Spinning is a little quicker on idle cores. Where another program uses one of them, the spinning threads take the
    core from the very thread that they wait for, and a training step takes several times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
