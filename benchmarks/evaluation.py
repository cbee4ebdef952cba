"""Our ranking measures beside pytrec_eval, and 100,000 queries against 100,000 products in bounded memory.

    make bench NAME=evaluation ARGS="--size 20000"

First both measure the same run, with ties, and must agree to 1e-9: from embeddings to R@k, recall@k, nDCG@k, MRR and
mAP. pytrec_eval wants every query's candidates as a dictionary; ``full`` hands it all of them, which exact ranks and
mAP need, ``top 1000`` the best thousand, as mteb does. Then a process of its own ranks ``--size`` by ``--size``
vectors and reports its peak memory. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from moon.evaluation.ranking import rank_embeddings
from moon.evaluation.ranks import Ranks

KS = (1, 5, 10)
TOP = 1000
LIMIT_MB = 2000


def main() -> None:
    """Prints a table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100_000, help="queries and products of the large run")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--queries", type=int, default=2000, help="of the run that pytrec_eval measures too")
    parser.add_argument("--gallery", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.large:
        sys.stdout.write(json.dumps(large(arguments.size, arguments.dim)) + "\n")
        return
    # First, since a child's peak memory starts from what its parent holds.
    child = [sys.executable, __file__, "--large", f"--size={arguments.size}", f"--dim={arguments.dim}"]
    found = json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(f"{arguments.size} x {arguments.size} x {arguments.dim}: {found['seconds']} s, {found['peak_mb']} MB")
    methods = compared(arguments)
    print(f"{'method':24} {'seconds':>8}")
    for name, seconds in methods.items():
        print(f"{name:24} {seconds:8.3f}")
    line = {
        "ratio": round(methods["pytrec_eval, full"] / methods["moon"], 2) if "pytrec_eval, full" in methods else None,
        "ratio_of": "seconds of pytrec_eval on the full run, from embeddings to the means, over ours",
        "within_limit": found["peak_mb"] <= LIMIT_MB,
        "limit_mb": LIMIT_MB,
        **found,
        "methods": {name: round(seconds, 4) for name, seconds in methods.items()},
        **{name: value for name, value in vars(arguments).items() if name != "large"},
    }
    print(json.dumps(line))


def compared(arguments: argparse.Namespace) -> dict[str, float]:
    """Method -> its fastest seconds over the rounds, taken in turns; ours alone without pytrec_eval."""
    queries, gallery = vectors(arguments.queries, 16, 1), vectors(arguments.gallery, 16, 2)
    ids = [f"p{number:07d}" for number in range(len(gallery))]
    rng = np.random.default_rng(3)
    positives = [set(rng.choice(ids, rng.integers(1, 4), replace=False)) for _ in queries]
    methods: dict[str, Callable[[], dict[str, float]]] = {
        "moon": lambda: measures(rank_embeddings(queries, gallery, ids, positives))
    }
    try:
        import pytrec_eval  # noqa: F401
    except ModuleNotFoundError:
        print("pytrec_eval is not installed: ours is timed alone")
    else:
        methods["pytrec_eval, full"] = lambda: peer(queries, gallery, ids, positives, len(ids))
        methods[f"pytrec_eval, top {TOP}"] = lambda: peer(queries, gallery, ids, positives, TOP)
        ours, theirs = methods["moon"](), methods["pytrec_eval, full"]()
        for name, value in ours.items():
            assert abs(value - theirs[name]) < 1e-9, f"{name}: {value} and {theirs[name]}"
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(arguments.rounds):
        for name, method in methods.items():
            started = time.perf_counter()
            method()
            seconds[name].append(time.perf_counter() - started)
    return {name: min(taken) for name, taken in seconds.items()}


def vectors(count: int, dim: int, seed: int) -> np.ndarray:
    """Small whole numbers, so that products tie and are exact in every precision: trec_eval keeps scores as float32."""
    return np.random.default_rng(seed).integers(-8, 9, (count, dim)).astype(np.float32)


def measures(ranks: Ranks) -> dict[str, float]:
    """Means over the queries, by the names of trec_eval."""
    found = {"recip_rank": ranks.reciprocal().mean(), "map": ranks.average_precision().mean()}
    for k in KS:
        found[f"success_{k}"], found[f"recall_{k}"] = ranks.hits(k).mean(), ranks.recall(k).mean()
        found[f"ndcg_cut_{k}"] = ranks.ndcg(k).mean()
    return {name: float(value) for name, value in found.items()}


def peer(
    queries: np.ndarray, gallery: np.ndarray, ids: list[str], positives: list[set[str]], top: int
) -> dict[str, float]:
    """The same means by pytrec_eval."""
    import pytrec_eval

    scores = queries @ gallery.T
    run: dict[str, dict[str, float]] = {}
    for query, row in enumerate(scores):
        if top < len(ids):
            kept = np.argpartition(-row, top)[:top]
            run[str(query)] = dict(zip([ids[column] for column in kept], row[kept].tolist(), strict=True))
        else:
            run[str(query)] = dict(zip(ids, row.tolist(), strict=True))
    qrels = {str(query): dict.fromkeys(members, 1) for query, members in enumerate(positives)}
    depths = ",".join(map(str, KS))
    names = {"map", "recip_rank", f"success.{depths}", f"recall.{depths}", f"ndcg_cut.{depths}"}
    found = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    first = next(iter(found.values()))
    return {name: float(np.mean([one[name] for one in found.values()])) for name in first}


def large(size: int, dim: int) -> dict[str, Any]:
    """Ranks ``size`` noisy copies of ``size`` unit vectors; seconds and the process's peak memory."""
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((size, dim), dtype=np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries = gallery + 0.15 * rng.standard_normal((size, dim), dtype=np.float32)
    ids = [f"p{number:07d}" for number in range(size)]
    started = time.perf_counter()
    found = measures(rank_embeddings(queries, gallery, ids, [(one,) for one in ids]))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 1), "peak_mb": round(peak), "R@1": found["success_1"], "MRR": found["recip_rank"]}


if __name__ == "__main__":
    main()
