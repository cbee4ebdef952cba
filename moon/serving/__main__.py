"""``python -m moon.serving``: see `moon.serving.server`."""

from __future__ import annotations

import sys

from moon import telemetry
from moon.threads import wait_asleep

if __name__ == "__main__":
    telemetry.disable()
    wait_asleep()
    from moon.serving.worker import Worker

    model = Worker("moon.serving.model_worker")  # imports what it needs while we do
    from moon.serving.server import main

    sys.exit(main(model))
