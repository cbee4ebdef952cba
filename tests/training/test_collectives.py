"""Collectives between real processes of the gloo backend."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from moon.config import ObjectivesParams
from moon.training.collectives import gather_rows, reduce_sums
from moon.training.objectives import Objectives
from tests.training.objectives import batches

COUNTS = (3, 1)
PARAMS = ObjectivesParams(
    temperature=0.2, query_views="all", symmetric=True, matryoshka=(4, 0), intra_weight=0.5, weighting="learned"
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What `work` returned in each of two processes."""
    folder = tmp_path_factory.mktemp("processes")
    spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def work(rank: int, folder: str) -> None:
    """Joins the other process and saves what both pieces of work below return."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save({"rows": unlike_rows(rank), "batch": shared_batch(rank)}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def unlike_rows(rank: int) -> dict[str, Any]:
    """Gathers uneven rows of three shapes and types, and sums metrics."""
    found: dict[str, Any] = {}
    for dtype in (torch.float32, torch.bfloat16):
        own = (torch.arange(sum(COUNTS) * 6).reshape(-1, 2, 3).split(COUNTS)[rank]).to(dtype).requires_grad_()
        everything = gather_rows(own, COUNTS)
        (everything * (rank + 1)).sum().backward()
        found[str(dtype)] = (everything.detach(), own.grad)
    frozen = torch.ones(COUNTS[rank], 1).requires_grad_(rank == 1)
    gather_rows(frozen, COUNTS).sum().backward()
    found["frozen"] = frozen.grad
    found["empty"] = gather_rows(torch.ones((0, 2)[rank], 3), (0, 2))
    found["flat"] = gather_rows(torch.full((COUNTS[rank],), float(rank)), COUNTS)
    found["sums"] = reduce_sums({"b": (rank, 1), "a": (0.5, rank)} if rank else {"a": (0.5, rank), "b": (rank, 1)})
    return found


def shared_batch(rank: int) -> dict[str, Any]:
    """One process's part of the loss of a batch whose units are spread over both."""
    index = batches.batch(5, views=3)
    fields = batches.outputs(index, 5)
    half = (batches.size(index) + 1) // 3  # uneven on purpose
    counts = (half, batches.size(index) - half)
    own = {
        name: field.detach().split(counts)[rank].clone().requires_grad_(field.requires_grad)
        for name, field in fields.items()
    }
    gathered = {name: gather_rows(field, counts) for name, field in own.items()}
    part = dataclasses.replace(index, own=torch.arange(index.rows).split((2, index.rows - 2))[rank])
    score = Objectives(PARAMS, batches.WIDTH)(gathered, part, 0.5, batches.bank(index, 5), share=0.5)
    return {
        "total": score.total.detach(),
        "gradients": batches.gradients(score.total, own),
        "parts": reduce_sums(score.parts),
    }


def test_rows_arrive_in_rank_order_and_gradients_come_back_added_up(found: list[dict[str, Any]]) -> None:
    first, second = (process["rows"] for process in found)
    for dtype in (torch.float32, torch.bfloat16):
        for process, count in ((first, 3), (second, 1)):
            gathered, gradient = process[str(dtype)]
            assert gathered.equal(torch.arange(24).reshape(-1, 2, 3).to(dtype))
            assert gradient.equal(torch.full((count, 2, 3), 3, dtype=dtype))
    assert first["frozen"] is None and second["frozen"].item() == 2
    assert first["empty"].equal(torch.ones(2, 3)) and second["empty"].equal(torch.ones(2, 3))
    assert first["flat"].tolist() == second["flat"].tolist() == [0, 0, 0, 1]
    assert first["sums"] == second["sums"] == {"a": (1, 1), "b": (1, 2)}


def test_two_processes_find_the_loss_and_the_gradients_of_one(found: list[dict[str, Any]]) -> None:
    processes = [process["batch"] for process in found]
    index = batches.batch(5, views=3)
    fields = batches.outputs(index, 5)
    whole = Objectives(PARAMS, batches.WIDTH)(fields, index, 0.5, batches.bank(index, 5))
    torch.testing.assert_close(processes[0]["total"] + processes[1]["total"], whole.total.detach())
    for name, gradient in batches.gradients(whole.total, fields).items():
        torch.testing.assert_close(torch.cat([part["gradients"][name] for part in processes]), gradient)
    for name, part in whole.parts.items():
        assert processes[0]["parts"][name] == processes[1]["parts"][name] == pytest.approx(part, rel=1e-5, abs=1e-6), (
            name
        )


def test_one_process_gets_back_what_it_gave() -> None:
    rows = torch.ones(2, 3)
    assert gather_rows(rows, (2,)) is rows
    assert reduce_sums({"a": (1.0, 2.0)}) == {"a": (1.0, 2.0)}


def test_counts_must_fit_the_rows() -> None:
    with pytest.raises(ValueError, match="2 of process 0"):
        gather_rows(torch.ones(2, 3), (3,))
