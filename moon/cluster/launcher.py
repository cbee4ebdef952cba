"""Starts a training job on a cluster, or finds the one that was started before, and stays with it to its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from moon.cluster import pytorchjob, trainjob
from moon.cluster.job_logs import JobLog, LastWords
from moon.cluster.jobs import BODY, JobState, Outcome, Progress, TrainingJob
from moon.cluster.kubernetes_api import AlreadyExists, Body, Cluster, ClusterError
from moon.config import LaunchParams

log = logging.getLogger(__name__)

WATCH_SECONDS: Final = 60
"""A watch is opened anew, and the job read in between, this often."""
_CRASHED: Final = 1
_PAUSE: Final = 1.0


class JobKind(Protocol):
    """A custom resource that trains; `moon.cluster.trainjob` and `moon.cluster.pytorchjob` are such."""

    GROUP: str
    VERSION: str
    PLURAL: str
    KIND: str
    CONTAINER: str

    def body(self, job: TrainingJob, params: LaunchParams) -> Body:
        """Its manifest."""

    def state(self, found: Mapping[str, Any]) -> JobState:
        """What its status says."""

    def selector(self, name: str) -> str:
        """Labels of its pods."""

    def node(self, pod: Mapping[str, Any]) -> int:
        """Which machine a pod is."""

    def exit_code(self, code: int) -> int:
        """The exit code of training behind that of a pod."""


KINDS: Final[Mapping[str, JobKind]] = {"trainjob": trainjob, "pytorchjob": pytorchjob}


class Launcher:
    """Runs jobs of one kind on a cluster.

    Args:
        cluster: namespace to run in.
        params: kind and size.
        say: gets every line of the job's log.
    """

    def __init__(self, cluster: Cluster, params: LaunchParams, say: Callable[[str], None]) -> None:
        self._cluster, self._params, self._say = cluster, params, say
        self._kind = KINDS[params.kind]

    def run(self, job: TrainingJob) -> Outcome:
        """Waits for a job's end; one of this name that runs or has succeeded is joined rather than started again.

        A job that failed in a way that may not come again is replaced, and goes on from its newest checkpoint.

        Raises:
            ClusterError: the cluster refuses the job or does not answer; a running job goes on.
            ValueError: the job cannot be described as a resource.
        """
        found, attached = self._created_or_found(job)
        kind = self._kind
        with JobLog(self._cluster, kind.selector(job.name), kind.CONTAINER, kind.node, self._say) as logs:
            state = self._followed(job, found)
            logs.finish()
            if state.phase == "succeeded":
                return Outcome(name=job.name, succeeded=True, reason=state.reason, attached=attached)
            return self._failure(job, state, logs.last_words(), attached)

    def remove(self, job: TrainingJob) -> None:
        """Deletes a job; its processes get SIGTERM and write a checkpoint."""
        self._cluster.delete(self._kind, job.name)

    def _created_or_found(self, job: TrainingJob) -> tuple[Body, bool]:
        body = self._kind.body(job, self._params)
        while True:
            try:
                found = self._cluster.create(self._kind, body)
                log.info("started %s %s in namespace %s", self._kind.KIND, job.name, self._params.namespace)
                return found, False
            except AlreadyExists:
                existing = self._cluster.get(self._kind, job.name)
            if existing is None:
                continue
            if not existing["metadata"].get("deletionTimestamp"):
                if not self._to_be_replaced(job, existing):
                    self._compare(existing, body)
                    return existing, True
                log.warning("%s %s had failed; starting it again", self._kind.KIND, job.name)
                self.remove(job)
            self._wait_until_gone(job, existing["metadata"]["uid"])

    def _to_be_replaced(self, job: TrainingJob, existing: Body) -> bool:
        if self._kind.state(existing).phase != "failed":
            return False
        kind = self._kind
        logs = JobLog(self._cluster, kind.selector(job.name), kind.CONTAINER, kind.node, lambda line: None)
        logs.look()
        words = logs.last_words()
        return (
            words is None
            or not Outcome(name=job.name, succeeded=False, exit_code=kind.exit_code(words.exit_code)).permanent
        )

    def _compare(self, existing: Body, body: Body) -> None:
        log.info("attached to %s %s, which was started before", self._kind.KIND, existing["metadata"]["name"])
        before = existing["metadata"].get("annotations", {}).get(BODY)
        if before != body["metadata"]["annotations"][BODY]:
            log.warning("it was started with other settings than those given now (size, resources, image); they stay")

    def _wait_until_gone(self, job: TrainingJob, uid: str) -> None:
        log.info("waiting for the end of an earlier %s %s", self._kind.KIND, job.name)
        end = time.monotonic() + self._params.grace_seconds + self._params.patience_seconds
        while (found := self._cluster.get(self._kind, job.name)) and found["metadata"]["uid"] == uid:
            if time.monotonic() > end:
                raise ClusterError(
                    f"{self._kind.KIND} {job.name} is being deleted and does not end; look at its pods and finalizers"
                )
            time.sleep(_PAUSE)

    def _followed(self, job: TrainingJob, body: Body) -> JobState:
        """The last state of a job, told as it changes."""
        uid, told = body["metadata"]["uid"], _Teller()
        while True:
            state = self._kind.state(body)
            told.tell(job.name, state)
            if state.finished:
                return state
            changed = self._watched(job, body["metadata"]["resourceVersion"], uid, told)
            if changed is not None:
                return changed
            found = self._cluster.get(self._kind, job.name)
            if found is None or found["metadata"]["uid"] != uid:
                return _deleted(job.name)
            body = found

    def _watched(self, job: TrainingJob, version: str, uid: str, told: _Teller) -> JobState | None:
        """The state in which the job ended while it was watched; None where the watch ended before it."""
        started = time.monotonic()
        for event, body in self._cluster.changes(self._kind, job.name, version, WATCH_SECONDS):
            if event not in ("ADDED", "MODIFIED", "DELETED") or body["metadata"]["uid"] != uid:
                continue
            if event == "DELETED":
                return _deleted(job.name)
            state = self._kind.state(body)
            told.tell(job.name, state)
            if state.finished:
                return state
        time.sleep(max(0.0, _PAUSE - (time.monotonic() - started)))  # a server that closes at once is not hammered
        return None

    def _failure(self, job: TrainingJob, state: JobState, words: LastWords | None, attached: bool) -> Outcome:
        reason = f"{state.reason}: {state.message}" if state.message else state.reason
        if words is None:
            return Outcome(name=job.name, succeeded=False, exit_code=_CRASHED, reason=reason, attached=attached)
        return Outcome(
            name=job.name,
            succeeded=False,
            exit_code=self._kind.exit_code(words.exit_code),
            reason=f"{reason}; {words.who} said last:",
            lines=words.lines,
            attached=attached,
        )


class _Teller:
    """Logs a job's state where it has changed."""

    def __init__(self) -> None:
        self._phase = ""
        self._progress: Progress | None = None

    def tell(self, name: str, state: JobState) -> None:
        if state.phase != self._phase:
            why = f" ({state.reason}: {state.message})" if state.reason else ""
            log.info("job %s is %s%s", name, state.phase, why)
        if state.progress != self._progress and state.progress is not None:
            log.info("job %s: %s", name, state.progress)
        self._phase, self._progress = state.phase, state.progress


def _deleted(name: str) -> JobState:
    return JobState(phase="failed", reason="Deleted", message=f"someone else deleted {name}; start it again to go on")
