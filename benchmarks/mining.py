"""Our miner beside `mine_hard_negatives` of sentence-transformers: seconds, memory and the negatives themselves.

    make bench NAME=mining ARGS="--products 50000 --queries 4096 --large 0"

Both read the same vectors; the peer's encoder is a stand-in that looks rows up. Both take the nearest candidates of the
whole gallery, reject what scores above 95 % of the positive, and keep four. Every run is a process of its own; seconds
are those of the one call, memory is its peak above the idle process, and the runs of the methods alternate. Negatives
may differ only where two scores are equal but for float32 rounding (2e-6). ``ratio`` and ``memory_ratio`` are against
faiss, the peer's quicker way; its default multiplies all pairs and is left out where memory does not suffice.

A second part builds an approximate index over ``--large`` vectors in a file and measures recall@50 against exact
search, and its peak memory as a whole process. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MARGIN, NEGATIVES, WINDOW, SAME = 0.05, 4, 41, 2e-6
OURS, FAISS, DEFAULT = "moon", "sentence-transformers, faiss", "sentence-transformers, default"
_CLUSTER = 100
"""Products in a cluster."""
_CHUNK = 50_000
_BATCH = 16_384
"""Queries that the peer multiplies at a time, its default."""
_RECALL_QUERIES, _RECALL_K = 1000, 50


def main() -> None:
    """Prints a table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=16_384)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--data", choices=("clustered", "spread"), default="clustered")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="leaves out the default of the peer")
    parser.add_argument(
        "--large", type=int, default=1_000_000, help="vectors of the approximate index; 0 leaves it out"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(arguments.child, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        line = _compare(arguments, Path(folder))
    if arguments.large:
        with tempfile.TemporaryDirectory() as folder:
            line |= _approximate(arguments, Path(folder))
    print(json.dumps(line))


def _compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    make_vectors(folder, arguments.products, arguments.queries, arguments.dim, arguments.data)
    methods = [OURS, FAISS]
    needed = 1.5 * 4 * min(arguments.queries, _BATCH) * arguments.products
    if not arguments.quick and needed < _available_bytes():
        methods.append(DEFAULT)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    for _ in range(arguments.rounds):
        for name in methods:
            runs[name].append(_run(name, folder))
    print(f"{'method':32} {'seconds':>8} {'queries/s':>9} {'peak MB':>8} {'negatives':>9} {'identical':>9}")
    rows = {}
    for name in methods:
        same, rounding = _compare_negatives(folder, name)
        row = {
            "seconds": min(run["seconds"] for run in runs[name]),
            "cpu_seconds": min(run["cpu_seconds"] for run in runs[name]),
            "peak_mb": min(run["peak_mb"] for run in runs[name]),
            "negatives": runs[name][0]["negatives"],
            "identical": same,
            "swapped_by_rounding": rounding,
        }
        rows[name] = row
        rate = arguments.queries / row["seconds"]
        print(f"{name:32} {row['seconds']:8.1f} {rate:9.0f} {row['peak_mb']:8.0f} {row['negatives']:9d} {same:9.5f}")
    return {
        "ratio": round(rows[FAISS]["seconds"] / rows[OURS]["seconds"], 2),
        "ratio_of": "seconds of sentence-transformers with faiss over ours, same negatives",
        "cpu_ratio": round(rows[FAISS]["cpu_seconds"] / rows[OURS]["cpu_seconds"], 2),
        "memory_ratio": round(rows[OURS]["peak_mb"] / rows[FAISS]["peak_mb"], 3),
        "products": arguments.products,
        "queries": arguments.queries,
        "dim": arguments.dim,
        "data": arguments.data,
        "rounds": arguments.rounds,
        "methods": rows,
    }


def _compare_negatives(folder: Path, name: str) -> tuple[float, int]:
    """Share of equal negatives, and how many of the others have scores equal but for rounding.

    Raises:
        AssertionError: another negative was found whose score is not equal.
    """
    ours, theirs = (np.load(folder / f"{_slug(method)}.npy") for method in (OURS, name))
    line, column = np.nonzero(ours != theirs)
    products, queries = np.load(folder / "products.npy", mmap_mode="r"), np.load(folder / "queries.npy", mmap_mode="r")
    for query, place in zip(line.tolist(), column.tolist(), strict=True):
        asked = queries[query].astype(np.float64)
        scores = [
            asked @ products[found[query, place]] if found[query, place] >= 0 else None for found in (ours, theirs)
        ]
        if None in scores:  # one of them rejected a candidate on the threshold itself
            limit = (1 - MARGIN) * (asked @ products[query])
            kept = next(score for score in scores if score is not None)
            scores = [limit, kept]
        assert abs(scores[0] - scores[1]) < SAME, f"query {query}, negative {place}: {scores} are not equal"
    return float((ours == theirs).mean()), len(line)


def _approximate(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    make_vectors(folder, arguments.large, 2 * _RECALL_QUERIES, arguments.dim, "clustered")
    found = _run("approximate", folder)
    print(
        f"approximate, {arguments.large} vectors: recall@{_RECALL_K} {found['recall']:.4f}, "
        f"peak {found['peak_mb']:.0f} MB, built in {found['build_seconds']:.0f} s, "
        f"{found['queries_per_second']:.0f} queries/s"
        f" (exact: {found['exact_queries_per_second']:.0f})"
    )
    return {"recall": round(found["recall"], 4), "large": arguments.large, "approximate": found}


def make_vectors(folder: Path, products: int, queries: int, dim: int, data: str) -> None:
    """Writes unit vectors: products around centres, or anywhere, and queries near the first of them."""
    rng = np.random.default_rng(11)
    centres = rng.standard_normal((max(products // _CLUSTER, 1), dim), dtype=np.float32)
    chosen = np.lib.format.open_memmap(folder / "products.npy", "w+", np.float32, (products, dim))
    for start in range(0, products, _CHUNK):
        count = min(_CHUNK, products - start)
        rows = rng.standard_normal((count, dim), dtype=np.float32)
        if data == "clustered":
            rows = centres[rng.integers(0, len(centres), count)] + 0.7 * rows
        chosen[start : start + count] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    chosen.flush()
    asked = chosen[:queries] + 0.04 * rng.standard_normal((queries, dim), dtype=np.float32)
    np.save(folder / "queries.npy", asked / np.linalg.norm(asked, axis=1, keepdims=True))


def _run(name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, "--folder", str(folder)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def _child(name: str, folder: Path) -> None:
    from moon import telemetry

    telemetry.disable()
    methods = {OURS: _ours, FAISS: _theirs, DEFAULT: _theirs}
    if name == "approximate":
        print(json.dumps(_build_large(folder)))
        return
    call, rows_of = methods[name](folder, name == FAISS)
    idle = _peak_bytes(reset=True)
    started, worked = time.perf_counter(), time.process_time()
    result = call()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    peak = _peak_bytes()
    rows = rows_of(result)
    np.save(folder / f"{_slug(name)}.npy", rows)
    measured = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": (peak - idle) / 1e6}
    print(json.dumps({**measured, "negatives": int((rows >= 0).sum())}))


Method = tuple[Callable[[], Any], Callable[[Any], np.ndarray]]


def _open(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    products, queries = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("products", "queries"))
    return products, queries, [f"p{row}" for row in range(len(products))]


def _ours(folder: Path, _: bool) -> Method:
    import torch  # noqa: F401  what is imported counts as idle, as for the peer

    from moon.config import MiningParams
    from moon.retrieval.mining import Mining, mine

    products, queries, ids = _open(folder)
    bought = [frozenset([id_]) for id_ in ids[: len(queries)]]
    params = MiningParams(
        negatives=NEGATIVES,
        max_rank=WINDOW,
        pool=WINDOW,
        positive_aware="margin",
        relative_margin=MARGIN,
        index="exact",
    )

    def call() -> Mining:
        return mine(queries, [0] * len(queries), bought, ids, products, [0] * len(products), params)

    def rows_of(mining: Mining) -> np.ndarray:
        rows = np.full((len(queries), NEGATIVES), -1)
        for query, one in enumerate(mining.mined):
            if len(one.negative_ids) == NEGATIVES:  # as the peer, which drops queries with fewer
                rows[query] = [int(id_[1:]) for id_ in one.negative_ids]
        return rows

    return call, rows_of


def _theirs(folder: Path, use_faiss: bool) -> Method:
    import faiss  # noqa: F401
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    products, queries, ids = _open(folder)
    dataset = Dataset.from_dict({"anchor": [f"q{row}" for row in range(len(queries))], "positive": ids[: len(queries)]})
    model = _LookUp(queries, products)

    def call() -> Dataset:
        return mine_hard_negatives(
            dataset,
            model,
            corpus=ids,
            relative_margin=MARGIN,
            num_negatives=NEGATIVES,
            output_format="n-tuple",
            output_scores=True,
            faiss_batch_size=_BATCH,
            use_faiss=use_faiss,
            verbose=False,
        )

    def rows_of(mined: Dataset) -> np.ndarray:
        rows = np.full((len(queries), NEGATIVES), -1)
        asked = np.array([int(text[1:]) for text in mined["anchor"]], np.int64)
        for place in range(NEGATIVES):
            rows[asked, place] = [int(text[1:]) for text in mined[f"negative_{place + 1}"]]
        return rows

    return call, rows_of


class _LookUp:
    """An encoder whose vectors are computed already."""

    def __init__(self, queries: np.ndarray, products: np.ndarray) -> None:
        import torch

        self._queries, self._products, self.device = queries, products, torch.device("cpu")

    def get_embedding_dimension(self) -> int:
        return int(self._products.shape[1])

    def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
        return np.array(self._queries[[int(text[1:]) for text in texts]])

    def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
        return np.array(self._products[[int(text[1:]) for text in texts]])

    @staticmethod
    def similarity(left: Any, right: Any) -> Any:
        import torch

        return torch.as_tensor(left) @ torch.as_tensor(right).T

    @staticmethod
    def similarity_pairwise(left: Any, right: Any) -> Any:
        import torch

        return (torch.as_tensor(left) * torch.as_tensor(right)).sum(dim=1)


def _build_large(folder: Path) -> dict[str, Any]:
    """Builds, tunes on half of the queries, measures on the other half."""
    from moon.retrieval.approximate import ApproximateIndex

    products, queries, ids = _open(folder)
    started = time.perf_counter()
    index = ApproximateIndex.build(ids, products)
    built = time.perf_counter()
    index.tune(queries[:_RECALL_QUERIES], _RECALL_K, 0.995)
    tuned, held_out = time.perf_counter(), queries[_RECALL_QUERIES:]
    index.search_rows(held_out, _RECALL_K)
    searched = time.perf_counter()
    index.exact_rows(held_out, _RECALL_K)
    exact = time.perf_counter()
    return {
        "recall": index.recall(held_out, _RECALL_K, _RECALL_QUERIES),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "build_seconds": built - started,
        "tune_seconds": tuned - built,
        "probes": index.probes,
        "refine": index.refine,
        "queries_per_second": len(held_out) / (searched - tuned),
        "exact_queries_per_second": len(held_out) / (exact - searched),
    }


def _peak_bytes(reset: bool = False) -> int:
    """Highest resident memory of this process so far, or, after a reset of the mark, the memory of now (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def _available_bytes() -> int:
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("MemAvailable")))


def _slug(name: str) -> str:
    return name.replace(", ", "-")


if __name__ == "__main__":
    main()
