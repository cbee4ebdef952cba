from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from moon.training.checkpoint import load_checkpoint, save_checkpoint


def test_newest_is_loaded_and_old_ones_go(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, step, {"step": step, "tensor": torch.full((2,), step)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000020", "step-00000030"]
    state = load_checkpoint(tmp_path)
    assert state is not None and state["step"] == 30 and state["tensor"].tolist() == [30, 30]


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_broken_newest_falls_back_with_a_warning(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (10, 20):
        save_checkpoint(tmp_path, step, {"step": step})
    newest = tmp_path / "step-00000020" / "state.pt"
    newest.write_bytes(newest.read_bytes()[:100] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        state = load_checkpoint(tmp_path)
    assert state is not None and state["step"] == 10
    assert "step-00000020" in caplog.text


def test_half_written_checkpoint_is_not_seen(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 10, {"step": 10})
    (tmp_path / ".step-00000020.partial").mkdir()
    state = load_checkpoint(tmp_path)
    assert state is not None and state["step"] == 10
    save_checkpoint(tmp_path, 20, {"step": 20})
    assert not list(tmp_path.glob(".*"))
