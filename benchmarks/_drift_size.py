"""One drift test on one pair of large windows in a process of its own: ``python _drift_size.py METHOD ROWS DIM LIMIT``.

Prints seconds and peak memory as JSON; more than LIMIT bytes of memory is an error.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import warnings


def main() -> None:
    """Runs the method and prints what it took."""
    name, rows, dim, limit = sys.argv[1], *map(int, sys.argv[2:])
    import drift  # before the limit: it is for the data, not for libraries

    from moon import telemetry

    telemetry.disable()
    warnings.simplefilter("ignore")
    method = drift.ours if name == drift.OURS else drift.evidently_methods()[name]
    small = argparse.Namespace(rows=100, dim=dim)
    method(*drift.pair(0, small, 0.0))  # imports and warms up
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    reference, window = drift.pair(1, argparse.Namespace(rows=rows, dim=dim), 0.0)
    started = time.perf_counter()
    drifted = method(reference, window)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps({"seconds": round(seconds, 2), "mb": round(peak / 1e6), "drifted": drifted}) + "\n")


if __name__ == "__main__":
    main()
