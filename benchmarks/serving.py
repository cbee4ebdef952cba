"""Our model server beside a plain KServe predictor, a `SentenceTransformer.encode` loop and infinity, on a tiny model.

    make bench NAME=serving ARGS="--seconds 4 --rounds 3"
    make bench NAME=serving ARGS="--infinity /path/of/a/venv/bin/python"

Clients ask in a closed loop, one, 8 and 32 of them: short texts, long texts and JPEG photos of mixed sizes, one item a
request, every request another one so that no cache answers. The servers run side by side as processes of their own and
take turns; first all must give the same vectors. The plain predictor (`_serving_plain.py`) does the same work on each
request by itself, one request after another; a second one, ``threads``, prepares two at once and is shown beside it.
The encode loop has no server around it, and takes one item or 32 at a time. infinity (its torch engine, of the Python
given) is asked to serve our exported folder; where it cannot, it serves texts with a stock model of the same width,
layers and tokenizer.

A ratio is the median over the rounds, each within one round. The last line is one JSON object: ``ratio`` is requests a
second of ours over the plain predictor's, ``p99_ratio`` our 99th percentile over its, both at 32 clients and the worse
of photos and texts; ``overhead_ms`` the median request of one client less the same work on the bare model, of short
spans in turn.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import orjson
from _serving_inputs import KINDS, Inputs, prepare, prepare_twin
from _serving_load import Served, Turn, closed_loop, moon_command
from _serving_loops import Loops

from moon import telemetry
from moon.model.export import export
from moon.progress import track

OURS, QUEUE, THREADS, INFINITY = "moon", "plain, queue", "plain, threads", "infinity"
PLAIN: Final = (QUEUE, THREADS)
CLIENTS: Final = (1, 8, 32)
_HERE: Final = Path(__file__).parent
_OIP, _READY = "/v2/models/moon/infer", "/v2/health/ready"
_TOLERANCE: Final = 1e-4
_SPANS: Final = 5
"""In which one client and the bare model take turns, each round: the machine's speed changes within seconds."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One server under one load: the medians over the rounds."""

    kind: str
    clients: int
    server: str
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """CPU time of the server's processes for a request."""


Rounds = dict[tuple[str, int, str], list[Row]]


@dataclass(frozen=True, kw_only=True)
class Span:
    """The median request of one client, and the same work on the bare model right after it."""

    kind: str
    server: str
    request_ms: float
    work_ms: float


def main() -> None:
    """Prints the tables and the JSON line."""
    telemetry.disable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server under each load")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="the last number makes the ratio")
    parser.add_argument("--infinity", help="Python of an environment with infinity-emb; left out without it")
    parser.add_argument("--photos", type=int, default=48, help="different drawings")
    parser.add_argument("--serving-params", default="{}", help="section 'serving' of our server as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        prepare(folder / "model")
        export(folder / "model", folder / "exported", {})
        servers = {
            OURS: Served(
                moon_command(folder / "model", f"--serving_params={arguments.serving_params}"),
                _OIP,
                _READY,
                folder / "moon.log",
            )
        }
        servers |= {way: _plain(folder, way) for way in PLAIN}
        for served in servers.values():
            running.enter_context(served)
        for served in servers.values():
            served.wait_ready()
        unserved: dict[str, str] = {}
        if arguments.infinity:
            unserved = _start_infinity(folder, arguments.infinity, servers, running)
        loops = Loops(folder / "model", folder / "exported")
        inputs = Inputs(1, arguments.photos)
        apart = differences(servers, inputs)
        print("differences: " + ", ".join(f"{one} {value:.1e}" for one, value in apart.items()))
        if max(apart.values()) > _TOLERANCE:
            raise SystemExit("the servers do not compute the same thing; the comparison is void")
        rounds: Rounds = {}
        encoded: list[dict[str, Any]] = []
        spans: list[Span] = []
        for _ in range(arguments.rounds):
            one_round(servers, inputs, arguments.clients, arguments.seconds, rounds)
            encoded += loops.measure(inputs, arguments.seconds)
            spans += beside_bare(servers, loops, inputs, arguments.seconds / _SPANS)
    report(rounds, encoded, spans, arguments, apart, unserved)


def _plain(folder: Path, way: str) -> Served:
    command = [sys.executable, str(_HERE / "_serving_plain.py"), f"--model_dir={folder / 'model'}"]
    ports = ["--http_port={port}", "--grpc_port={grpc}", f"--way={way.rpartition(' ')[2]}"]
    return Served([*command, *ports], _OIP, _READY, folder / f"{way.rpartition(' ')[2]}.log")


def _start_infinity(folder: Path, python: str, servers: dict[str, Served], running: ExitStack) -> dict[str, str]:
    """Adds infinity to the servers, on our model or else on the text model of its shape; why it serves neither."""
    prepare_twin(folder / "model", folder / "twin")
    options = ["--engine", "torch", "--device", "cpu", "--trust-remote-code", "--no-bettertransformer"]
    options += ["--served-model-name", "moon", "--port"]
    refused: dict[str, str] = {}
    for model in (folder / "exported", folder / "twin"):
        command = [str(Path(python).with_name("infinity_emb")), "v2", "--model-id", str(model), *options, "{port}"]
        quiet = {"INFINITY_ANONYMOUS_USAGE_STATS": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        served = Served(command, "/embeddings", "/health", folder / "infinity.log", quiet)
        running.enter_context(served)
        try:
            served.wait_ready()
            _vector(served, Inputs(2, 1), "short text")
        except (RuntimeError, KeyError):
            refused[model.name] = _reason(served)
            served.stop()
            continue
        servers[INFINITY] = served
        break
    return refused


def _reason(served: Served) -> str:
    """The last line of a log that names an error, else its last line."""
    lines = [line.strip() for line in served.log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"\w*Error: ", line)]
    return (errors or lines or ["it wrote nothing"])[-1][:300]


def kinds_of(server: str) -> tuple[str, ...]:
    """What a server is asked; infinity takes pictures only for architectures of its own list."""
    return tuple(kind for kind in KINDS if server != INFINITY or kind != "photo")


def body_of(server: str, inputs: Inputs, kind: str) -> bytes:
    """The next request for a server."""
    return inputs.openai(kind) if server == INFINITY else inputs.oip(kind)


def _vector(served: Served, inputs: Inputs, kind: str) -> np.ndarray:
    server = INFINITY if served.url.endswith("/embeddings") else OURS
    answer = httpx.post(
        served.url,
        content=body_of(server, inputs, kind),
        headers={"content-type": "application/json"},
        timeout=60,
        trust_env=False,
    )
    body = orjson.loads(answer.content)
    if answer.status_code != 200:
        raise RuntimeError(f"{served.url} answers {answer.status_code}: {answer.text[:300]}")
    return np.asarray(body["data"][0]["embedding"] if server == INFINITY else body["outputs"][0]["data"])


def differences(servers: dict[str, Served], inputs: Inputs) -> dict[str, float]:
    """Largest difference of each plain predictor's vectors from ours, over one item of each kind."""
    apart = dict.fromkeys(PLAIN, 0.0)
    for seed, kind in enumerate(KINDS):
        ours = _vector(servers[OURS], inputs.again(seed), kind)
        for name in apart:
            other = _vector(servers[name], inputs.again(seed), kind)
            apart[name] = max(apart[name], float(np.abs(other - ours).max()))
    return apart


def one_round(servers: dict[str, Served], inputs: Inputs, clients: list[int], seconds: float, rounds: Rounds) -> None:
    """A turn of every server under every load."""
    turns = list(itertools.product(KINDS, clients, servers.items()))
    for kind, number, (name, served) in track(turns, "turns"):
        if kind in kinds_of(name):
            turn = closed_loop(served, lambda name=name, kind=kind: body_of(name, inputs, kind), number, seconds)
            rounds.setdefault((kind, number, name), []).append(_row(kind, number, name, turn))


def beside_bare(servers: dict[str, Served], loops: Loops, inputs: Inputs, seconds: float) -> list[Span]:
    """Our server and the plain predictor, each in turn with the bare model."""
    found = []
    for kind, name, _ in itertools.product(KINDS, (OURS, QUEUE), range(_SPANS)):
        turn = closed_loop(servers[name], lambda name=name, kind=kind: body_of(name, inputs, kind), 1, seconds)
        work_ms = loops.work_ms(inputs, kind, seconds)
        request_ms = float(np.median(turn.milliseconds))
        found.append(Span(kind=kind, server=name, request_ms=request_ms, work_ms=work_ms))
    return found


def _row(kind: str, clients: int, server: str, turn: Turn) -> Row:
    p50, p99 = np.percentile(turn.milliseconds, [50, 99])
    return Row(
        kind=kind,
        clients=clients,
        server=server,
        requests_per_second=turn.rate,
        p50_ms=float(p50),
        p99_ms=float(p99),
        cpu_ms=1000 * turn.cpu_seconds / len(turn.milliseconds),
    )


def median(rows: list[Row]) -> Row:
    """The medians of one server's turns under one load."""
    numbers = ("requests_per_second", "p50_ms", "p99_ms", "cpu_ms")
    return Row(
        kind=rows[0].kind,
        clients=rows[0].clients,
        server=rows[0].server,
        **{name: round(float(np.median([getattr(row, name) for row in rows])), 3) for name in numbers},
    )


def against(rounds: Rounds, kind: str, clients: int, peer: str) -> dict[str, float]:
    """Ours beside a peer: the median of the rounds' ratios.

    ``requests`` and ``cpu`` above 1 and ``p50`` and ``p99`` below 1 are in our favour.
    """
    ratios: dict[str, list[float]] = {"requests": [], "p50": [], "p99": [], "cpu": []}
    for ours, theirs in zip(rounds[kind, clients, OURS], rounds[kind, clients, peer], strict=True):
        ratios["requests"].append(ours.requests_per_second / theirs.requests_per_second)
        ratios["p50"].append(ours.p50_ms / theirs.p50_ms)
        ratios["p99"].append(ours.p99_ms / theirs.p99_ms)
        ratios["cpu"].append(theirs.cpu_ms / ours.cpu_ms)
    return {name: round(float(np.median(values)), 3) for name, values in ratios.items()}


def report(
    rounds: Rounds,
    encoded: list[dict[str, Any]],
    spans: list[Span],
    arguments: argparse.Namespace,
    apart: dict[str, float],
    unserved: dict[str, str],
) -> None:
    """The tables and the JSON line."""
    rows = [median(turns) for turns in rounds.values()]
    print(f"{'kind':11} {'clients':>7} {'server':15} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms':>7}")
    for row in rows:
        print(
            f"{row.kind:11} {row.clients:7d} {row.server:15} {row.requests_per_second:8.1f} {row.p50_ms:8.1f} "
            f"{row.p99_ms:8.1f} {row.cpu_ms:7.2f}"
        )
    loops = _loops(encoded)
    for kind, found in loops.items():
        print(
            f"{kind:11} encode loop, one at a time {found['one']:.1f}/s, 32 at a time {found['many']:.1f}/s; ", end=""
        )
        print(f"forward pass {found['forward_ms']:.2f} ms")
    overhead = {server: _overhead(spans, server) for server in (OURS, QUEUE)}
    for server, added in overhead.items():
        print(f"{server} adds " + ", ".join(f"{value:.2f} ms to a {kind}" for kind, value in added.items()))
    for model, reason in unserved.items():
        print(f"infinity does not serve the model '{model}': {reason}")
    most = max(arguments.clients)
    ratios = {kind: against(rounds, kind, most, QUEUE) for kind in KINDS}
    ours = {(row.kind, row.clients): row for row in rows if row.server == OURS}
    line = {
        "ratio": min(one["requests"] for one in ratios.values()),
        "ratio_of": f"requests a second of ours over the plain KServe predictor's, {most} clients, worst kind",
        "p99_ratio": max(one["p99"] for one in ratios.values()),
        "overhead_ms": max(overhead[OURS].values()),
        "overhead": overhead,
        "against_plain": ratios,
        "against_threads": {kind: against(rounds, kind, most, THREADS) for kind in KINDS},
        "against_loop": {
            kind: round(ours[kind, most].requests_per_second / found["one"], 3) for kind, found in loops.items()
        },
        "against_infinity": {
            kind: against(rounds, kind, most, INFINITY) for kind in KINDS if (kind, most, INFINITY) in rounds
        },
        "infinity_refused": unserved,
        "differences": apart,
        **vars(arguments),
        "loops": loops,
        "rows": [asdict(row) for row in rows],
    }
    print(json.dumps(line))


def _overhead(spans: list[Span], server: str) -> dict[str, float]:
    """Milliseconds that a server adds to an item of each kind: the median of the spans' differences."""
    return {
        kind: round(
            float(np.median([s.request_ms - s.work_ms for s in spans if (s.kind, s.server) == (kind, server)])), 2
        )
        for kind in KINDS
    }


def _loops(encoded: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Medians over the rounds, by kind."""
    return {
        kind: {
            name: round(float(np.median([row[name] for row in encoded if row["kind"] == kind])), 3)
            for name in ("one", "many", "forward_ms")
        }
        for kind in KINDS
    }


if __name__ == "__main__":
    main()
