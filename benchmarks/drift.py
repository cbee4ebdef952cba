"""Our drift test beside Evidently's four embedding methods: error rates and milliseconds on the same windows.

    make bench NAME=drift ARGS="--rows 300 --windows 20"

A null window is drawn like its reference: no method should call it drifted in more than a share alpha of the cases.
A shifted window has its vectors moved by ``--shift`` along one direction before they are normalised. Error rates of
ours come from 25 times as many windows. Then every method gets one pair of null windows of each of ``--sizes`` rows,
with at most ``--seconds`` and 2 GB of memory. One thread; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from moon import telemetry
from moon.config import DriftParams
from moon.monitoring.drift import compare_windows
from moon.monitoring.windows import window_table

ALPHA = 0.05
OURS = "moon"
_OURS_TIMES = 25
_MEMORY = 2_000_000_000
Method = Callable[[np.ndarray, np.ndarray], bool]


def main() -> None:
    """Prints a table and the JSON line."""
    telemetry.disable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300, help="rows of each window")
    parser.add_argument("--dim", type=int, default=96)
    parser.add_argument("--windows", type=int, default=20, help="null and as many shifted windows for every method")
    parser.add_argument("--shift", type=float, default=0.5, help="in standard deviations of the strongest direction")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 100_000], help="rows of large windows")
    parser.add_argument("--seconds", type=float, default=60, help="for one method on one pair of large windows")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        measured = {OURS: measure(ours, arguments, _OURS_TIMES * arguments.windows)}
        for name, method in evidently_methods().items():
            measured[name] = measure(method, arguments, arguments.windows)
    print(f"{'method':34} {'false alarms':>12} {'power':>7} {'ms':>8} {'windows':>8}")
    for name, row in measured.items():
        print(f"{name:34} {row['false_alarm_rate']:12.3f} {row['power']:7.3f} {row['ms']:8.1f} {row['windows']:8d}")
    sizes = {name: large(name, arguments) for name in measured}
    for name, found in sizes.items():
        print(f"{name:34} " + ", ".join(f"{rows} rows: {one}" for rows, one in found.items()))
    classifier = measured["evidently model, bootstrap"]
    line = {
        "ratio": round(classifier["ms"] / measured[OURS]["ms"], 2),
        "ratio_of": "milliseconds of evidently's classifier, bootstrapped as a test, over ours",
        "false_alarm_rate": measured[OURS]["false_alarm_rate"],
        "power": measured[OURS]["power"],
        **vars(arguments),
        "methods": measured,
        "sizes_measured": sizes,
    }
    print(json.dumps(line))


def measure(method: Method, arguments: argparse.Namespace, windows: int) -> dict[str, Any]:
    """Share of null and of shifted windows that a method calls drifted, and its milliseconds a window."""
    method(*pair(0, arguments, 0.0))  # imports and warms up
    alarms, seconds = {0.0: 0, arguments.shift: 0}, 0.0
    for number in range(windows):
        for shift in alarms:
            reference, window = pair(number, arguments, shift)
            started = time.perf_counter()
            alarms[shift] += method(reference, window)
            seconds += time.perf_counter() - started
    null, shifted = alarms.values()
    return {
        "false_alarm_rate": null / windows,
        "power": shifted / windows,
        "ms": round(1000 * seconds / (2 * windows), 2),
        "windows": windows,
    }


def large(name: str, arguments: argparse.Namespace) -> dict[int, Any]:
    """Seconds and peak memory of a method on large windows, or why it did not end; then it gets no larger ones."""
    script = Path(__file__).with_name("_drift_size.py")
    found: dict[int, Any] = {}
    for rows in sorted(arguments.sizes):
        command = [sys.executable, str(script), name, str(rows), str(arguments.dim), str(_MEMORY)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=arguments.seconds + 60, env=environment, check=False
            )
        except subprocess.TimeoutExpired:
            return {**found, rows: f"not done in {arguments.seconds + 60:.0f} s with its start"}
        if run.returncode:
            said = run.stderr.strip().splitlines()[-1:] or [f"exit code {run.returncode}"]
            return {**found, rows: said[0][:200]}
        found[rows] = json.loads(run.stdout.splitlines()[-1])
    return found


def pair(number: int, arguments: argparse.Namespace, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """A reference and a window of L2-normalised vectors with a falling spectrum, in twelve clusters (categories)."""
    scales = np.linspace(1, 0.1, arguments.dim) ** 2
    centres = np.random.default_rng(5).normal(size=(12, arguments.dim)) * scales
    rng = np.random.default_rng([9, number])
    both = []
    for moved in (0.0, shift):
        vectors = centres[rng.integers(0, 12, arguments.rows)]
        vectors = vectors + 0.7 * scales * rng.normal(size=(arguments.rows, arguments.dim))
        vectors[:, 0] += moved
        both.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return both[0], both[1]


def ours(reference: np.ndarray, window: np.ndarray) -> bool:
    """The whole decision of `moon.monitoring`, table and all."""
    tables = [
        window_table([{"modality": "image", "embedding": row, "model_revision": "r"} for row in rows], rows.shape[1])
        for rows in (reference, window)
    ]
    return compare_windows(tables[0], tables[1], DriftParams(alpha=ALPHA)).decision != "ok"


def evidently_methods() -> dict[str, Method]:
    """Evidently's methods with their defaults, and its classifier with its bootstrap at our alpha."""
    from evidently.legacy.metrics.data_drift import embedding_drift_methods as methods

    chosen = {
        "evidently model (its default)": methods.ModelDriftMethod(),
        "evidently model, bootstrap": methods.ModelDriftMethod(bootstrap=True, quantile_probability=1 - ALPHA),
        "evidently mmd (its default)": methods.MMDDriftMethod(),
        "evidently mmd, its bootstrap": methods.MMDDriftMethod(bootstrap=True),
        "evidently distance (its default)": methods.DistanceDriftMethod(),
        "evidently ratio (its default)": methods.RatioDriftMethod(),
    }
    return {name: _on_frames(method) for name, method in chosen.items()}


def _on_frames(method: Any) -> Method:
    """An Evidently method as the metric calls it: current first, one column a dimension."""

    def drifted(reference: np.ndarray, window: np.ndarray) -> bool:
        frames = [pd.DataFrame(rows, columns=[f"d{i}" for i in range(rows.shape[1])]) for rows in (window, reference)]
        return bool(method(frames[0], frames[1])[1])

    return drifted


if __name__ == "__main__":
    main()
