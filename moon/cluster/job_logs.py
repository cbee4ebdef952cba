"""The log of a job of many pods: every line once, in order within a pod, across restarts and lost connections."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import urllib3.exceptions
from kubernetes.client.exceptions import ApiException

from moon.cluster.jobs import TAIL, failing_rank
from moon.cluster.kubernetes_api import Cluster, ClusterError

log = logging.getLogger(__name__)

_KEPT: Final = 400
_CLOCK_SKEW: Final = 120
_PAUSE: Final = 0.5
_LAST_TRIES: Final = 6
"""How often the log of a pod that has ended is asked for where the API server fails."""
_STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z")
_STUCK: Final = (
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CrashLoopBackOff",
)


@dataclass(frozen=True, kw_only=True)
class LastWords:
    """How the process that failed first ended."""

    exit_code: int
    """Of its pod."""
    who: str
    lines: Sequence[str]


class PodLog:
    """Reads one container's log to its end in a thread.

    Args:
        cluster: where it is.
        pod: its name.
        container: of the pod.
        say: gets every line once.
    """

    def __init__(self, cluster: Cluster, pod: str, container: str, say: Callable[[str], None]) -> None:
        self._cluster, self._pod, self._container, self._say = cluster, pod, container, say
        self.lines: deque[str] = deque(maxlen=_KEPT)
        self._newest: tuple[str, str] = ("", "")
        self._said_at_newest = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"log of {pod}", daemon=True)
        self._thread.start()

    def end(self, seconds: float) -> None:
        """The container has ended: waits for what it said last."""
        self._ended.set()
        self._thread.join(seconds)

    def _read(self) -> None:
        tries_left = _LAST_TRIES
        while tries_left:
            ended = self._ended.is_set()
            try:
                self._read_once(follow=not ended)
                if ended:
                    return
            except ApiException as error:  # 400: not started yet; 404: deleted
                log.debug("log of %s: %s", self._pod, error.reason)
                if error.status == 404:
                    return
            except (urllib3.exceptions.HTTPError, ValueError) as error:
                log.debug("log of %s: %s", self._pod, error)
            if ended:
                tries_left -= 1
                time.sleep(_PAUSE)
            else:
                self._ended.wait(_PAUSE)

    def _read_once(self, follow: bool) -> None:
        """Reads from the newest line on; lines of its very time that were said before are passed over."""
        start, passed_over = self._newest, self._said_at_newest
        for line in self._cluster.log_lines(self._pod, self._container, since=self._since(), follow=follow):
            found = _STAMP.match(line)
            at = (found[1], (found[2] or "").ljust(9, "0")) if found else self._newest
            if at < start:
                continue
            if at == start and passed_over:
                passed_over -= 1
                continue
            self._said_at_newest = self._said_at_newest + 1 if at == self._newest else 1
            self._newest = at
            text = line[found.end() + 1 :] if found else line
            self.lines.append(text)
            self._say(text)

    def _since(self) -> int | None:
        if not self._newest[0]:
            return None
        then = datetime.fromisoformat(self._newest[0]).replace(tzinfo=UTC)
        return max(1, math.ceil((datetime.now(UTC) - then).total_seconds())) + _CLOCK_SKEW


class JobLog:
    """Finds the pods of a job and says what they say, for as long as the context lasts.

    Args:
        cluster: where they are.
        selector: their labels.
        container: of each that is read.
        node: which machine a pod is.
        say: gets every line.
    """

    def __init__(
        self,
        cluster: Cluster,
        selector: str,
        container: str,
        node: Callable[[dict[str, Any]], int],
        say: Callable[[str], None],
    ) -> None:
        self._cluster, self._selector, self._container, self._node, self._say = cluster, selector, container, node, say
        self._logs: dict[str, PodLog] = {}
        self._pods: dict[str, dict[str, Any]] = {}
        self._told: set[tuple[str, str]] = set()
        self._attempts = 0
        self._done = threading.Event()
        self._finder = threading.Thread(target=self._find, name=f"pods of {selector}", daemon=True)

    def __enter__(self) -> JobLog:
        self._finder.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def finish(self, seconds: float = 20.0) -> None:
        """The job has ended: reads what its pods said last."""
        self._done.set()
        self._finder.join(seconds)
        self.look()
        end = time.monotonic() + seconds
        for name, one in self._logs.items():
            over = _terminated(self._pods[name], self._container)
            one.end(max(0.0, end - time.monotonic()) if over else _PAUSE)  # one that is being stopped has no end yet

    def last_words(self) -> LastWords | None:
        """Of the process that failed first on the newest pods, or None where no pod is known to have failed."""
        failed = [pod for pod in self._pods.values() if _terminated(pod, self._container).get("exitCode")]
        if not failed:
            return None
        attempt = max(_attempt(pod) for pod in failed)
        first = min((pod for pod in failed if _attempt(pod) == attempt), key=self._ended_at)
        lines = list(self._logs[name].lines) if (name := first["metadata"]["name"]) in self._logs else []
        end = _terminated(first, self._container)
        rank, said = failing_rank(lines or str(end.get("message", "")).splitlines())
        who = f"{rank} on pod {name}" if rank else f"pod {name}"
        return LastWords(exit_code=end["exitCode"], who=who, lines=said[-TAIL:])

    def _ended_at(self, pod: dict[str, Any]) -> tuple[str, int]:
        return _terminated(pod, self._container).get("finishedAt", ""), self._node(pod)

    def _find(self) -> None:
        while not self._done.is_set():
            self.look()
            self._done.wait(_PAUSE * 2)

    def look(self) -> None:
        """Lists the pods once; where the cluster does not answer, the next time does."""
        try:
            pods = self._cluster.pods(self._selector)
        except ClusterError as error:
            log.warning("%s", error)
            return
        for pod in pods:
            name = pod["metadata"]["name"]
            self._pods[name] = pod
            self._warn(pod)
            if (attempt := _attempt(pod)) > self._attempts:
                self._attempts = attempt
                log.warning("the job was started anew (%d), from its newest checkpoint", attempt)
            if name not in self._logs and pod["status"].get("phase") in ("Running", "Succeeded", "Failed"):
                self._logs[name] = PodLog(self._cluster, name, self._container, self._prefixed(self._node(pod)))

    def _prefixed(self, node: int) -> Callable[[str], None]:
        return lambda line: self._say(f"node {node}: {line}")

    def _warn(self, pod: dict[str, Any]) -> None:
        """Says once why a pod does not start."""
        for reason, message in _troubles(pod):
            if (key := (pod["metadata"]["name"], reason)) not in self._told:
                self._told.add(key)
                log.warning("pod %s does not start: %s: %s", key[0], reason, message)


def _troubles(pod: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for condition in pod["status"].get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield condition.get("reason", "Unschedulable"), condition.get("message", "")
    for container in pod["status"].get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _STUCK:
            yield waiting["reason"], waiting.get("message", "")


def _terminated(pod: dict[str, Any], container: str) -> dict[str, Any]:
    for one in pod["status"].get("containerStatuses") or ():
        if one["name"] == container:
            return dict((one.get("state") or {}).get("terminated") or {})
    return {}


def _attempt(pod: dict[str, Any]) -> int:
    """How often JobSet had started the job anew when it made a pod."""
    return int(pod["metadata"].get("labels", {}).get("jobset.sigs.k8s.io/restart-attempt", 0))
