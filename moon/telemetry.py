"""Switches off the usage reporting of every library in the house.

`disable` runs before the first of them is imported: in the command line, in the model server, and as the environment
of every component. A variable that the user has set is left as it is.
"""

from __future__ import annotations

import os
from typing import Final

OFF: Final = {
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
}
"""Variable -> the value that means "report nothing"."""


def disable() -> None:
    """Sets every variable of `OFF` that is not set yet."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
