"""Runs a pipeline on this machine with KFP's local runner: the same tasks, each in a process or container of its own.

KFP leaves two things open that this module adds. Its cache keys hold the image's name but not the code in it, so for
processes the name gets a digest of our sources; containers are not cached. And it reports progress only as log
messages: `Progress` reads those. Shares of a loop run in threads, two at a time.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import local

from components.base import image

REPOSITORY = Path(__file__).parents[1]
_IMAGE_SOURCES = ("moon", "components")
_COLOUR = re.compile(r"\x1b\[\d+m")
_STARTED = re.compile(r"Executing task '(?P<name>.+?)'")
_ENDED = re.compile(r"Task '(?P<name>.+?)' finished with status (?P<status>\w+)")
_CACHED = re.compile(r"Task (?P<name>\S+) cache hit")
_COPY = re.compile(r"-\d+$")


class PipelineError(RuntimeError):
    """A task of a local run failed; the message names it, its last line of output and the log."""


@dataclass(frozen=True, kw_only=True)
class TaskRun:
    """What one task of a run took."""

    name: str
    seconds: float
    cached: bool
    failed: bool = False


def run(
    pipeline: Any,
    arguments: Mapping[str, Any],
    root: Path,
    log: Path,
    watch: Callable[[str, TaskRun | None], None],
    runner: Any = None,
) -> list[TaskRun]:
    """Runs a pipeline and returns its tasks in the order they ended.

    Args:
        pipeline: A function made a pipeline by `dsl.pipeline`.
        arguments: Its arguments.
        root: Folder of all outputs and of the cache.
        log: File that gets the output of all tasks.
        watch: Called with a task's name when it starts and again with what it took when it ends.
        runner: Runs the tasks in their images, see `pipelines.containers`; without one they are processes of this
            environment.

    Raises:
        PipelineError: a task failed.
    """
    if runner is None:
        # KFP puts this interpreter's path wherever it reads "python3", in the arguments too.
        if spoiled := [str(value) for value in (root.resolve(), *arguments.values()) if "python3" in str(value)]:
            raise ValueError(f"KFP's local runner cannot pass on a text with 'python3' in it: {spoiled[0][:200]}")
        pipeline = with_image(pipeline, f"{image()}-{source_digest()[:16]}")
    local.init(runner or local.SubprocessRunner(use_venv=False), pipeline_root=str(root), enable_caching=runner is None)
    output = _Output(log)
    progress = Progress(watch)
    with output, _logging_to(output, progress), contextlib.redirect_stdout(output):
        try:
            without_retries(copy.deepcopy(pipeline))(**arguments)
        except RuntimeError as error:
            failed = next((task.name for task in progress.tasks if task.failed), None)
            if failed is None:
                raise
            raise PipelineError(f"{failed} failed: {output.failure(failed)}; all output is in {log}") from error
    return progress.tasks


def with_image(pipeline: Any, name: str) -> Any:
    """A copy of a pipeline whose tasks run in another image."""
    changed = copy.deepcopy(pipeline)
    for executor in changed.pipeline_spec.deployment_spec["executors"].values():
        executor["container"]["image"] = name
    return changed


def without_retries(pipeline: Any) -> Any:
    """The same pipeline, changed, whose tasks fail at once: what fails here once fails again."""
    spec = pipeline.pipeline_spec
    for component in (spec.root, *spec.components.values()):
        for task in component.dag.tasks.values():
            task.ClearField("retry_policy")
    return pipeline


def source_digest(*more: str) -> str:
    """SHA-256 over the files that make up the components' image, and over those of ``more`` folders beside them."""
    total = hashlib.sha256()
    for folder in (*_IMAGE_SOURCES, *more):
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                data = path.read_bytes()
                total.update(f"{path.relative_to(REPOSITORY)}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


class Progress(logging.Filter):
    """Follows a run through KFP's log messages; a filter, because KFP replaces the handlers of the root logger."""

    def __init__(self, watch: Callable[[str, TaskRun | None], None]) -> None:
        super().__init__()
        self._watch = watch
        self._started: dict[tuple[int | None, str], float] = {}
        self.tasks: list[TaskRun] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Takes note of a task's start or end; lets every record through."""
        message = _COLOUR.sub("", record.getMessage())
        if match := _STARTED.match(message):
            self._started[record.thread, match["name"]] = time.monotonic()
            self._watch(_COPY.sub("", match["name"]), None)
        elif match := _ENDED.match(message):
            seconds = time.monotonic() - self._started.pop((record.thread, match["name"]))
            self._end(match["name"], round(seconds, 2), failed=match["status"] != "SUCCESS")
        elif match := _CACHED.match(message):
            self._end(match["name"], 0.0, cached=True)
        return True

    def _end(self, name: str, seconds: float, cached: bool = False, failed: bool = False) -> None:
        task = TaskRun(name=_COPY.sub("", name), seconds=seconds, cached=cached, failed=failed)
        self.tasks.append(task)
        self._watch(task.name, task)


class _Output(io.TextIOBase):
    """A log file that remembers the last line each task wrote before it failed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")
        self._line = ""
        self._failures: dict[str, str] = {}

    def write(self, text: str) -> int:
        self._file.write(_COLOUR.sub("", text))
        self._file.flush()
        for line in _COLOUR.sub("", text).splitlines():
            if match := re.search(_ENDED, line):
                self._failures[_COPY.sub("", match["name"])] = self._line
            elif line.strip():
                self._line = line.strip()
        return len(text)

    def failure(self, task: str) -> str:
        """The last line of a task's output: the error, where it raised one."""
        return self._failures.get(task, "no output")

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def _logging_to(output: _Output, progress: Progress) -> Iterator[None]:
    """Sends the root logger and warnings to ``output`` for the length of a run."""
    root = logging.getLogger()
    handler = logging.StreamHandler(output)
    before, level = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.addFilter(progress)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeFilter(progress)
        root.setLevel(level)
        root.handlers[:] = before
