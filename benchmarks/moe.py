"""Our experts beside those of transformers: milliseconds of one forward and backward pass, same weights, same routes.

    make bench NAME=moe ARGS="--tokens 64 1024 --experts 4"

Theirs is the experts module of Qwen3-VL-MoE with each of its implementations. Routes (indices and weights of the top k)
are given; ours sorts them within the measured time, as theirs do. The implementations take turns in random order, one
pass each a round; one that is ten times slower than the best drops out after five. A time is the fastest over the
rounds, because other programs on the machine can only add to it. A batched_mm that would copy more than 1 GiB of
weights is left out (-). Differences are to eager. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3VLMoeTextConfig
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoeTextExperts

from moon import telemetry
from moon.model.experts import expert_feed_forward

OURS = "moon"
_THEIRS = ("eager", "grouped_mm", "batched_mm")
_HOPELESS = 10
_LEAST_ROUNDS = 5
_COPIED_BYTES = 1 << 30
Experts = Callable[[Tensor, Tensor, Tensor], Tensor]


def main() -> None:
    """Prints a table and the JSON line."""
    telemetry.disable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 1024, 8192])
    parser.add_argument("--experts", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--top", type=int, default=2, help="experts of each token")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--feed-forward", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each size, at least five rounds")
    arguments = parser.parse_args()
    print(f"{'tokens':>6} {'experts':>7} {'implementation':>14} {'ms':>9} {'output diff':>12} {'gradient diff':>13}")
    sizes = [measure(tokens, experts, arguments) for tokens in arguments.tokens for experts in arguments.experts]
    line = {
        "ratio": min(size["ratio"] for size in sizes),
        "ratio_of": "milliseconds of the best of transformers' implementations over ours, worst over the sizes",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **vars(arguments),
        "sizes": sizes,
    }
    print(json.dumps(line))


def measure(tokens: int, experts: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One size: prints a row for each implementation and gives the milliseconds and the ratio."""
    torch.manual_seed(0)
    kind: dict[str, Any] = {"device": arguments.device, "dtype": getattr(torch, arguments.dtype)}
    theirs = Qwen3VLMoeTextExperts(
        Qwen3VLMoeTextConfig(
            hidden_size=arguments.hidden,
            moe_intermediate_size=arguments.feed_forward,
            num_experts=experts,
            hidden_act="silu",
        )
    ).to(**kind)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    hidden = torch.randn(tokens, arguments.hidden, **kind).requires_grad_()
    top, index = torch.randn(tokens, experts, device=arguments.device).softmax(-1).topk(arguments.top)
    weight = (top / top.sum(-1, keepdim=True)).to(kind["dtype"]).requires_grad_()
    gradient = torch.randn_like(hidden)
    leaves = hidden, weight, theirs.gate_up_proj, theirs.down_proj

    def run(forward: Experts) -> tuple[float, list[Tensor]]:
        for leaf in leaves:
            leaf.grad = None
        _wait(hidden)
        started = time.perf_counter()
        out = forward(hidden, index, weight)
        out.backward(gradient)
        _wait(hidden)
        return time.perf_counter() - started, [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    implementations = {OURS: ours(theirs), **{name: as_theirs(theirs, name) for name in _THEIRS}}
    copied = sum(p.numel() * p.element_size() for p in theirs.parameters()) // experts * tokens * arguments.top
    if copied > _COPIED_BYTES:
        del implementations["batched_mm"]
    results = {name: run(forward)[1] for name, forward in implementations.items()}  # and warms up
    fastest = dict.fromkeys(implementations, float("inf"))
    rounds, end = 0, time.perf_counter() + arguments.seconds
    turns = random.Random(0)
    while rounds < _LEAST_ROUNDS or time.perf_counter() < end:
        best = min(fastest.values())
        hopeless = {name for name in fastest if rounds >= _LEAST_ROUNDS and fastest[name] > _HOPELESS * best}
        names = [name for name in implementations if name not in hopeless]
        for name in turns.sample(names, len(names)):  # whoever comes after another finds its own weights out of cache
            fastest[name] = min(fastest[name], run(implementations[name])[0])
        rounds += 1
    for name in (OURS, *_THEIRS):
        if name not in fastest:
            print(f"{tokens:6d} {experts:7d} {name:>14} {'-':>9}")
            continue
        far = [(ours - eager).abs().max().item() for ours, eager in zip(results[name], results["eager"], strict=True)]
        print(f"{tokens:6d} {experts:7d} {name:>14} {1e3 * fastest[name]:9.3f} {far[0]:12.1e} {max(far[1:]):13.1e}")
    return {
        "tokens": tokens,
        "experts": experts,
        "rounds": rounds,
        "ms": {name: round(1e3 * seconds, 3) for name, seconds in fastest.items()},
        "ratio": round(min(fastest[name] for name in fastest if name != OURS) / fastest[OURS], 3),
    }


def ours(module: Any) -> Experts:
    """Our experts on the weights of theirs."""

    def forward(hidden_TD: Tensor, index_TK: Tensor, weight_TK: Tensor) -> Tensor:
        expert_A, order_A = torch.sort(index_TK.flatten(), stable=True)
        return expert_feed_forward(
            hidden_TD,
            order_A // index_TK.shape[1],
            weight_TK.flatten().index_select(0, order_A),
            torch.bincount(expert_A, minlength=len(module.gate_up_proj)),
            module.gate_up_proj,
            module.down_proj,
        )

    return forward


def as_theirs(module: Any, implementation: str) -> Experts:
    """Their module with one of its implementations; it shares the weights of ``module``."""
    twin = copy.copy(module)
    twin.config = copy.deepcopy(module.config)
    twin.config._experts_implementation = implementation
    forward: Experts = twin
    return forward


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
