from __future__ import annotations

from pathlib import Path

import pytest
import torch

from moon.training.objectives import MemoryBank


def filled(batches: int, pushes: int) -> MemoryBank:
    bank = MemoryBank(batches)
    for number in range(pushes):
        bank.push(torch.full((number + 1, 3), float(number)), [f"{number}.{row}" for row in range(number + 1)])
    return bank


@pytest.mark.parametrize(("batches", "pushes", "kept"), [(3, 2, (0, 1)), (2, 4, (2, 3)), (0, 2, ()), (2, 0, ())])
def test_the_last_batches_stay_and_the_oldest_leave_first(batches: int, pushes: int, kept: tuple[int, ...]) -> None:
    bank = filled(batches, pushes)
    assert bank.ids == tuple(f"{number}.{row}" for number in kept for row in range(number + 1))
    assert bank.vectors_MD[:, :1].flatten().tolist() == [number for number in kept for _ in range(number + 1)]
    assert len(bank) == len(bank.ids) == len(bank.vectors_MD)


def test_what_is_stored_has_no_gradient_and_does_not_change_with_its_source() -> None:
    source = torch.ones(2, 3, requires_grad=True)
    bank = MemoryBank(1)
    bank.push(source, ["a", "b"])
    with torch.no_grad():
        source.zero_()
    assert not bank.vectors_MD.requires_grad
    assert bank.vectors_MD.eq(1).all()


@pytest.mark.parametrize("pushes", [0, 1, 3])
def test_a_saved_bank_is_the_loaded_one(pushes: int, tmp_path: Path) -> None:
    saved, loaded = filled(2, pushes), filled(2, 1)
    torch.save(saved.state_dict(), tmp_path / "bank.pt")
    loaded.load_state_dict(torch.load(tmp_path / "bank.pt", weights_only=True))
    for bank in (saved, loaded):
        bank.push(torch.zeros(1, 3), ["new"])
    assert loaded.ids == saved.ids
    assert loaded.vectors_MD.equal(saved.vectors_MD)


def test_a_smaller_bank_loads_the_newest_batches() -> None:
    bank = MemoryBank(1)
    bank.load_state_dict(filled(3, 3).state_dict())
    assert bank.ids == ("2.0", "2.1", "2.2")


def test_every_vector_needs_its_id() -> None:
    with pytest.raises(ValueError, match="one id for each"):
        MemoryBank(1).push(torch.zeros(2, 3), ["a"])
