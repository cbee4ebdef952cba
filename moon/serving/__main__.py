"""``python -m moon.serving``: see `moon.serving.server`."""

from __future__ import annotations

import sys

from moon import telemetry

if __name__ == "__main__":
    telemetry.disable()
    from moon.serving.server import main

    sys.exit(main())
