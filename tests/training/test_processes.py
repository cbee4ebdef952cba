"""The entry point as a user starts it: real processes over gloo, DeepSpeed, signals and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from moon.config import MiningParams
from tests.training.conftest import named

ROOT = Path(__file__).parents[2]
BASE = {
    "training.steps": 6,
    "training.batch_size": 6,
    "training.checkpoint_every": 2,
    "training.log_every": 1,
    "training.warmup_steps": 1,
    "training.token_budget": 600,
    "objectives.memory_batches": 2,
    "objectives.memory_warmup": 2,
    "objectives.intra_weight": 0.3,
    "objectives.learn_temperature": True,
    "objectives.query_views": "all",
}
LONG = 60


@pytest.fixture(scope="module")
def inputs(
    tiny_catalog: Path, tiny_regions: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    from moon.steps import mine

    mined = tmp_path_factory.mktemp("mined")
    mine.run(catalog=tiny_catalog, regions=tiny_regions, model=tiny_model, params=MiningParams(), out=mined)
    return {"catalog": tiny_catalog, "regions": tiny_regions, "negatives": mined, "model": tiny_model}


def command(inputs: dict[str, Path], out: Path, **changes: object) -> list[str]:
    settings = BASE | {name.replace("__", "."): value for name, value in changes.items()}
    return [
        sys.executable,
        "-m",
        "moon.training",
        *(part for name, path in {**inputs, "out": out}.items() for part in (f"--{name}", str(path))),
        *(part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu"}


def run(inputs: dict[str, Path], out: Path, **changes: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(inputs, out, **changes), env=environment(), capture_output=True, text=True, timeout=300, check=False
    )


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    done = run(inputs, out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_two_processes_train_what_one_trains(
    inputs: dict[str, Path], alone: Path, tmp_path: Path, zero_stage: int
) -> None:
    done = run(inputs, tmp_path, training__processes=2, training__zero_stage=zero_stage)
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=1e-4)
    expected = weights(alone)
    for name, value in weights(tmp_path).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4, msg=named(name))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["processes"] == 2 and not (tmp_path / "checkpoints").exists()


@contextmanager
def started(args: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(args, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_step(process: subprocess.Popen[str], out: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        path = out / "metrics.jsonl"
        if path.is_file() and len(path.read_text().splitlines()) >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"no step {step}; exit code {process.poll()}")


@pytest.mark.slow
def test_killed_and_then_terminated_it_still_ends_as_uninterrupted(inputs: dict[str, Path], tmp_path: Path) -> None:
    whole = run(inputs, tmp_path / "whole", training__steps=LONG)
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "cut"
    args = command(inputs, out, training__steps=LONG)
    with started(args) as process:
        wait_for_step(process, out, 7)
    seen = len((out / "metrics.jsonl").read_text().splitlines())
    with started(args) as process:
        wait_for_step(process, out, seen + 3)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 75 and "error: stopped by SIGTERM after step" in errors
    assert "resuming from step" in errors
    last = run(inputs, out, training__steps=LONG)
    assert last.returncode == 0, last.stderr
    expected, actual = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    assert losses(out) == losses(tmp_path / "whole")


@pytest.mark.slow
def test_sharded_checkpoints_resume(inputs: dict[str, Path], tmp_path: Path) -> None:
    """Under ZeRO a run that SIGTERM stopped goes on and ends with the weights of an uninterrupted one."""
    changes = {"training__processes": 2, "training__zero_stage": 2, "training__steps": 24}
    whole = run(inputs, tmp_path / "whole", **changes)
    assert whole.returncode == 0, whole.stderr[-3000:]
    out = tmp_path / "cut"
    with started(command(inputs, out, **changes)) as process:
        wait_for_step(process, out, 5)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors[-3000:]
    last = run(inputs, out, **changes)
    assert last.returncode == 0 and "resuming from step" in last.stderr, last.stderr[-3000:]
    expected = weights(tmp_path / "whole")
    for name, value in weights(out).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_terminated_before_the_first_step_it_may_be_tried_again(inputs: dict[str, Path], tmp_path: Path) -> None:
    with started(command(inputs, tmp_path)) as process:
        time.sleep(1.5)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 75


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"training__batch_size": 5000}, "training.batch_size is 5000"),
        ({"training__stepz": 5}, "unknown parameter 'stepz'"),
        ({"objectives__weighting": "learned"}, "model.routing=modality"),
    ],
)
def test_a_mistake_is_one_line_and_must_not_be_tried_again(
    inputs: dict[str, Path], tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    done = run(inputs, tmp_path, **changes)
    assert done.returncode == 2
    assert expected in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_mistake_among_processes_keeps_its_exit_code(inputs: dict[str, Path], tmp_path: Path) -> None:
    done = run(inputs, tmp_path, training__processes=2, training__batch_size=5000)
    assert done.returncode == 2
    assert done.stderr.count("error: training.batch_size is 5000") == 1 and "Traceback" not in done.stderr


@pytest.mark.slow
def test_divergence_has_its_own_exit_code(inputs: dict[str, Path], tmp_path: Path) -> None:
    done = run(inputs, tmp_path, training__learning_rate=1e30)
    assert done.returncode == 5 and "lower training.learning_rate" in done.stderr
