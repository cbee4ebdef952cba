"""Our training step beside sentence-transformers' `CachedMultipleNegativesRankingLoss`: pairs a second and peak memory.

    make bench NAME=training ARGS="--batch 256 --steps 3"
    make bench NAME=training ARGS="--shape 3b --device cuda"

Both train the same Qwen2.5-VL-shaped model without experts on the same pairs: a query of text, picture or both, and a
product of text and one to three pictures. Sides of pictures and lengths of texts are heavy-tailed. A step is measured
whole: reading JPEG files, resizing, tokenising, loss, gradients and AdamW.

The peer runs its own code from end to end - `Transformer`, `Pooling`, `Normalize`, preprocessing, loss - in settings of
both of its modes; ``ahead`` prepares the next batch in a thread, as a data loader's worker would. The stock processor
asks for a video part that needs torchvision, so it is loaded without; the chat template writes our sequence.

First both must give the same token ids, loss and gradients. Then engines take turns, each turn in a fresh process: a
step on eight pairs loads whatever is loaded late, and memory counts from there. A batch counts with its fastest turn.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from _training_engines import OURS, Ours, Theirs, Turn
from _training_pairs import prepare, read_pairs
from torch import Tensor, nn

from moon import telemetry
from moon.training.utilisation import flops_per_token, peak_flops

_CHECK: Final = "check"
_COMPARED: Final = ("loss", "gradient", "gradient_of_a_tensor")
_WARM_PAIRS: Final = 8
_TOLERANCE: Final = 1e-4


def measure(turn: Turn) -> dict[str, Any]:
    """Seconds of each batch after a warm-up batch, and the peak of memory above that of the idle process."""
    pairs = read_pairs(turn.folder)
    engine = (Ours if turn.engine == OURS else Theirs)(turn, pairs)
    trained = [parameter for parameter in engine.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)
    device = torch.device(turn.device)

    def step(rows: Sequence[int], following: Sequence[int] = ()) -> dict[str, float]:
        outcome = engine.gradients(rows, following)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return outcome

    step(range(_WARM_PAIRS))
    idle = _memory(device, reset=True)
    starts = range(0, len(pairs), turn.batch)
    batches = [range(start, start + turn.batch) for start in starts]
    seconds, processor_seconds, outcomes = [], [], []
    for batch, following in itertools.zip_longest(batches, batches[1:], fillvalue=()):
        started, worked = time.perf_counter(), time.process_time()
        outcome = step(batch, following)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        processor_seconds.append(time.process_time() - worked)
        outcomes.append(outcome)
    return {
        "seconds": seconds[1:],
        "cpu_seconds": processor_seconds[1:],
        "peak_mb": _memory(device) - idle,
        "idle_mb": idle,
        "padding": 1 - sum(one["tokens"] for one in outcomes) / sum(one["padded"] for one in outcomes),
        "loss": outcomes[0]["loss"],
        "tokens_per_pair": sum(one["tokens"] for one in outcomes) / len(pairs),
        "flops_per_token": flops_per_token(engine.core) if isinstance(engine, Ours) else None,
        "peak_flops": peak_flops(device),
    }


def check(turn: Turn) -> dict[str, float]:
    """Largest differences between the engines: loss, and gradient relative to the peer's.

    A gradient is compared by its norm, as a whole and tensor by tensor; a tensor whose gradient is below a millionth of
    the whole (the bias of a key has none) is not compared alone.
    """
    pairs, rows = read_pairs(turn.folder), range(turn.batch)
    ours, theirs = Ours(turn, pairs), Theirs(turn, pairs)
    for row in rows:
        if ours.token_ids(row) != theirs.token_ids(row):
            raise ValueError(f"pair {row} is not the same sequence of tokens for both engines")
    _share_deltas(ours.model, theirs.model)
    outcomes = [engine.gradients(rows) for engine in (ours, theirs)]
    mine, stock = _named_gradients(ours.model), _named_gradients(theirs.model)
    if mine.keys() != stock.keys():
        raise ValueError(f"the engines train different weights: {sorted(mine.keys() ^ stock.keys())[:4]}")
    apart = {name: float((mine[name] - stock[name]).norm()) for name in stock}
    norm = {name: float(gradient.norm()) for name, gradient in stock.items()}
    whole = float(np.linalg.norm(list(norm.values())))
    return {
        "loss": abs(outcomes[0]["loss"] - outcomes[1]["loss"]),
        "gradient": float(np.linalg.norm(list(apart.values()))) / whole,
        "gradient_of_a_tensor": max(apart[name] / norm[name] for name in norm if norm[name] > 1e-6 * whole),
        "tokens_per_side": outcomes[0]["tokens"] / (2 * len(rows)),
    }


def _share_deltas(ours: nn.Module, theirs: nn.Module) -> None:
    """Gives both the same random LoRA matrices."""
    drawn = {_plain(name): value for name, value in ours.named_parameters() if ".lora_" in name}
    with torch.no_grad():
        for name, value in theirs.named_parameters():
            if ".lora_" in name:
                value.copy_(drawn[_plain(name)])


def _named_gradients(model: nn.Module) -> dict[str, Tensor]:
    return {
        _plain(name): value.grad.float().cpu() for name, value in model.named_parameters() if value.grad is not None
    }


def _plain(name: str) -> str:
    """The name of a weight inside the stock model."""
    return name[min(place for part in ("language_model.", "visual.") if (place := name.find(part)) >= 0) :]


def _memory(device: torch.device, reset: bool = False) -> float:
    """Peak MiB since the last reset: allocated on the GPU, or resident on the CPU. A reset starts from what is held."""
    gc.collect()
    if device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device) / 2**20
    if reset:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def turns(shared: Turn, tokens_per_side: float) -> dict[str, Turn]:
    """Our engine, and the peer's modes with mini-batches of about our size and below: smaller ones waste less padding.

    Ours counts padding and patches of pictures, the peer's only tokens, so the peer's budget is half of ours.
    """
    budget = shared.token_budget // 2
    rows = [max(1, round(share * budget / tokens_per_side)) for share in (1, 0.5, 0.25)]
    theirs = replace(shared, engine="theirs", mini_batch_size=rows[0])
    named = {OURS: shared}
    named |= {f"mini_batch_size={size}": replace(theirs, mini_batch_size=size) for size in rows}
    for tokens in (budget, budget // 4):
        named[f"mini_batch_num_tokens={tokens}"] = replace(theirs, mini_batch_num_tokens=tokens)
    named[f"mini_batch_size={rows[2]}, ahead"] = replace(theirs, mini_batch_size=rows[2], ahead=True)
    return named


def main() -> None:
    """Prints a table and the JSON line."""
    telemetry.disable()
    os.environ["HF_HUB_OFFLINE"] = "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["tiny", "3b"], default="tiny", help="3b trains LoRA deltas in bf16")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batch", type=int, help="pairs of a step; 256, with 3b 1024")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each turn, each on another batch")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each engine")
    parser.add_argument("--token-budget", type=int, help="of our engine; 4096, with 3b 8192")
    parser.add_argument("--cache-mb", type=int, default=32, help="our memory for resized pictures")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch; 0 is its own choice")
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.turn:
        turn = Turn(**json.loads(arguments.turn))
        torch.set_num_threads(turn.threads or torch.get_num_threads())
        print(json.dumps(check(turn) if turn.engine == _CHECK else measure(turn)))
        return
    large = arguments.shape == "3b"
    batch = arguments.batch or (1024 if large else 256)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), arguments.shape, batch * (arguments.steps + 1), arguments.device)
        shared = Turn(
            engine=OURS,
            folder=folder,
            device=arguments.device,
            batch=batch,
            token_budget=arguments.token_budget or (8192 if large else 4096),
            cache_mb=arguments.cache_mb,
            lora=large,
            bf16=large,
            threads=arguments.threads,
        )
        same = process(replace(shared, engine=_CHECK, batch=min(batch, 32) if large else batch, bf16=False))
        print("differences: " + ", ".join(f"{name} {same[name]:.1e}" for name in _COMPARED))
        if max(same[name] for name in _COMPARED) > _TOLERANCE:
            raise SystemExit("the engines do not compute the same thing; the comparison is void")
        named = turns(shared, same["tokens_per_side"])
        measured: dict[str, list[dict[str, Any]]] = {name: [] for name in named}
        for _ in range(arguments.rounds):
            for name, turn in named.items():
                measured[name].append(process(turn))
    report(shared, {name: summary(rows, batch) for name, rows in measured.items()}, same)


def process(turn: Turn) -> dict[str, Any]:
    """A turn in a process of its own."""
    command = [sys.executable, __file__, "--turn", json.dumps(asdict(turn))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def summary(rounds: list[dict[str, Any]], batch: int) -> dict[str, Any]:
    """One engine's turns: each batch with its fastest turn, and the median of the peaks."""
    fastest, least = (np.min([row[name] for row in rounds], axis=0) for name in ("seconds", "cpu_seconds"))
    return {
        **rounds[0],
        "seconds": [round(float(value), 3) for value in fastest],
        "cpu_seconds": [round(float(value), 3) for value in least],
        "pairs_per_second": batch / float(fastest.mean()),
        "peak_mb": float(np.median([row["peak_mb"] for row in rounds])),
    }


def report(shared: Turn, measured: dict[str, dict[str, Any]], same: dict[str, float]) -> None:
    """The table and the JSON line; the peer is its fastest setting, for speed and for memory."""
    ours = measured[OURS]
    peers = {name: row for name, row in measured.items() if name != OURS}
    fastest = max(peers, key=lambda name: peers[name]["pairs_per_second"])
    smallest = min(peers, key=lambda name: peers[name]["peak_mb"])
    if ours["peak_flops"]:
        for row in measured.values():
            tokens_per_second = row["pairs_per_second"] * ours["tokens_per_pair"]
            row["flops_utilisation"] = tokens_per_second * ours["flops_per_token"] / ours["peak_flops"]
    print(f"{'engine':40} {'pairs/s':>8} {'CPU s':>7} {'peak MB':>8} {'padding':>8} {'loss':>8} {'FLOPs':>6}")
    for name, row in measured.items():
        used = f"{row['flops_utilisation']:6.1%}" if "flops_utilisation" in row else "     -"
        print(
            f"{name:40} {row['pairs_per_second']:8.1f} {np.mean(row['cpu_seconds']):7.2f} {row['peak_mb']:8.0f} "
            f"{row['padding']:8.1%} {row['loss']:8.4f} {used}"
        )
    line = {
        "ratio": round(ours["pairs_per_second"] / peers[fastest]["pairs_per_second"], 3),
        "ratio_of": f"pairs a second of ours over {fastest}, the peer's fastest setting",
        "cpu_ratio": round(float(np.sum(peers[fastest]["cpu_seconds"]) / np.sum(ours["cpu_seconds"])), 3),
        "memory_ratio": round(ours["peak_mb"] / peers[fastest]["peak_mb"], 3),
        "memory_ratio_to_smallest": round(ours["peak_mb"] / peers[smallest]["peak_mb"], 3),
        "smallest": smallest,
        "differences": same,
        **{name: value for name, value in asdict(shared).items() if name not in ("folder", "engine")},
        "engines": measured,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
