from __future__ import annotations

import json
from pathlib import Path

import pytest

from moon.training.checkpoint import newest_checkpoint, save_checkpoint


def save(folder: Path, step: int, text: str = "state") -> None:
    def write(to: Path) -> None:
        (to / "state.pt").write_text(f"{text} {step}")
        (to / "zero").mkdir()
        (to / "zero" / "shard").write_bytes(bytes(100))

    save_checkpoint(folder, step, write)


def test_the_newest_is_found_and_two_are_kept(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    for step in (5, 10, 15):
        save(tmp_path, step)
    found = newest_checkpoint(tmp_path)
    assert found is not None and (found / "state.pt").read_text() == "state 15"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000015"]


@pytest.mark.parametrize("damage", ["cut", "bit", "gone", "unsealed", "garbled"])
def test_a_damaged_one_is_passed_over_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    newest = tmp_path / "step-00000002"
    shard = newest / "zero" / "shard"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:50])
    elif damage == "bit":
        shard.write_bytes(bytes([1]) + shard.read_bytes()[1:])
    elif damage == "gone":
        shard.unlink()
    elif damage == "unsealed":
        (newest / "checksums.json").unlink()
    else:
        (newest / "checksums.json").write_text(json.dumps(["state.pt"]))
    found = newest_checkpoint(tmp_path)
    assert found == tmp_path / "step-00000001"
    assert "step-00000002 is damaged" in caplog.text and "the one before" in caplog.text


def test_a_kill_while_writing_leaves_the_one_before(tmp_path: Path) -> None:
    save(tmp_path, 1)

    def killed(to: Path) -> None:
        (to / "state.pt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 2, killed)
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000001"
    save(tmp_path, 2)
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000002"


def test_the_same_step_may_be_written_again(tmp_path: Path) -> None:
    save(tmp_path, 1, "old")
    save(tmp_path, 1, "new")
    assert (tmp_path / "step-00000001" / "state.pt").read_text() == "new 1"
