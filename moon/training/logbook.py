"""Where training metrics go: ``metrics.jsonl``, TensorBoard, MLflow where asked for, and Kubeflow Trainer's status."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

Row = dict[str, float]
_TRAINJOB_URL = "KUBEFLOW_TRAINER_SERVER_URL"


def read_log(out: Path, up_to: int) -> list[Row]:
    """Rows of an earlier run's ``metrics.jsonl`` up to a step; a line that a kill cut short is passed over."""
    path = out / "metrics.jsonl"
    rows: list[Row] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["step"] <= up_to:
            rows.append(row)
    return rows


@contextmanager
def logbook(
    out: Path, history: list[Row], steps: int, mlflow_uri: str = "", recipe: dict[str, str] | None = None
) -> Iterator[Callable[[Row], None]]:
    """Yields a function that appends one row to ``history`` and to every log.

    Args:
        out: folder of ``metrics.jsonl`` and ``tensorboard``.
        history: rows so far, written anew; later rows of an interrupted run are dropped from every log.
        steps: the run's last step, for the progress that a Kubeflow TrainJob shows.
        mlflow_uri: MLflow tracking address or folder; empty: none.
        recipe: parameters noted in MLflow.

    Raises:
        ValueError: ``mlflow_uri`` is set and the extra ``mlflow`` is not installed.
    """
    last = int(history[-1]["step"]) if history else 0
    with ExitStack() as stack:
        file = stack.enter_context((out / "metrics.jsonl").open("w", encoding="utf-8"))
        file.writelines(json.dumps(row) + "\n" for row in history)
        board = stack.enter_context(SummaryWriter(str(out / "tensorboard"), purge_step=last + 1))
        others = [_trainjob_status(steps)] if os.environ.get(_TRAINJOB_URL) else []
        if mlflow_uri:
            others.append(stack.enter_context(_mlflow(mlflow_uri, out.resolve().name, recipe or {})))

        def record(row: Row) -> None:
            history.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            for name, value in row.items():
                board.add_scalar(name, value, int(row["step"]))
            for other in others:
                other(row)

        yield record


@contextmanager
def _mlflow(uri: str, name: str, recipe: dict[str, str]) -> Iterator[Callable[[Row], None]]:
    try:
        import mlflow
    except ModuleNotFoundError:
        raise ValueError(
            "training.mlflow_uri is set but MLflow is missing: pip install 'moon-product-search[mlflow]'"
        ) from None
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("moon")
    with mlflow.start_run(run_name=name):
        mlflow.log_params(recipe)

        def record(row: Row) -> None:
            mlflow.log_metrics(row, step=int(row["step"]))

        yield record


def _trainjob_status(steps: int) -> Callable[[Row], None]:
    """Progress for a Kubeflow TrainJob; the SDK sends at most one update in 5 seconds and never raises."""
    from kubeflow.trainer.backends.kubernetes.utils import update_trainjob_status

    def report(row: Row) -> None:
        left = (steps - row["step"]) * row["seconds"]
        shown: dict[str, float | int | str] = {name: row[name] for name in ("loss", "accuracy") if name in row}
        update_trainjob_status(int(100 * row["step"] / steps), int(left), shown)

    return report
