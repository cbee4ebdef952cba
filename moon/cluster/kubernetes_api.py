"""Custom resources, pods and logs of one namespace of a Kubernetes cluster, over an API server that may misbehave.

Requests that fail for a reason that passes (5xx, 429, a broken or silent connection) are repeated with growing pauses
until the patience is spent. What does not pass raises `ClusterError`, which says what to do.
"""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeVar

import urllib3.exceptions
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

log = logging.getLogger(__name__)
T = TypeVar("T")
Body = dict[str, Any]

_TIMEOUT: Final = (5.0, 30.0)
"""Seconds to connect, and to wait for bytes of an answer."""
_LONGEST_PAUSE: Final = 15.0
_CONNECTIONS: Final = 64
_CONFLICTS: Final = 5
"""How often an object is read anew because it has changed between being read and being replaced."""
_EXPIRED, _NOT_FOUND, _CONFLICT, _GONE, _MANY = 401, 404, 409, 410, 429


class ClusterError(RuntimeError):
    """The cluster refuses or does not answer; the message says what and what to do."""


class AlreadyExists(ClusterError):
    """There is an object of this name."""


class Resource(Protocol):
    """A kind of custom resource; a module such as `moon.cluster.trainjob` is one."""

    GROUP: str
    VERSION: str
    PLURAL: str
    KIND: str


class Cluster:
    """One namespace of a cluster.

    Args:
        namespace: where all objects lie.
        configuration: address and credentials; None takes the pod's service account, or the current kubeconfig.
        patience: seconds for which an API server that fails is asked again.
        timeout: seconds to connect, and to wait for bytes of an answer.

    Raises:
        ClusterError: there is no cluster to talk to.
    """

    def __init__(
        self,
        namespace: str,
        configuration: client.Configuration | None = None,
        patience: float = 600.0,
        timeout: tuple[float, float] = _TIMEOUT,
    ) -> None:
        self.namespace, self._patience, self._timeout = namespace, patience, timeout
        self._given = configuration
        self._connect()

    def _connect(self) -> None:
        settings = self._given or _configuration()
        settings.connection_pool_maxsize = _CONNECTIONS
        settings.retries = urllib3.Retry(0, redirect=2)  # repeated here, where the reason is known
        api = client.ApiClient(settings)
        self.host = settings.host
        self._objects, self._core = client.CustomObjectsApi(api), client.CoreV1Api(api)

    def create(self, kind: Resource, body: Body) -> Body:
        """Creates an object.

        Raises:
            AlreadyExists: its name is taken.
            ClusterError: the cluster refuses it or does not answer.
        """

        def call() -> Body:
            return self._objects.create_namespaced_custom_object(
                *self._place(kind), body, _request_timeout=self._timeout
            )

        what = f"create {kind.KIND} {body['metadata']['name']}"
        try:
            return self._ask(what, call)
        except ApiException as error:
            if error.status == _CONFLICT:
                raise AlreadyExists(f"cannot {what}: it exists") from None
            raise self._refused(what, error, kind) from None

    def apply(self, kind: Resource, body: Body) -> Body:
        """Creates an object, or puts this one in its place; what others noted in its metadata stays.

        Raises:
            ClusterError: the cluster refuses it or does not answer, or others keep changing the object.
        """
        name = body["metadata"]["name"]
        for _ in range(_CONFLICTS):
            current = self.get(kind, name)
            try:
                return self.create(kind, body) if current is None else self._replace(kind, current, body)
            except AlreadyExists:
                continue
        raise ClusterError(f"cannot replace {kind.KIND} {name}: others keep changing it; see who, and try again")

    def _replace(self, kind: Resource, current: Body, body: Body) -> Body:
        """Raises AlreadyExists where the object has changed since it was read."""
        kept, wanted = current["metadata"], body["metadata"]
        both = {part: {**kept.get(part, {}), **wanted.get(part, {})} for part in ("labels", "annotations")}
        whole = {**body, "metadata": {**kept, **wanted, **both}}
        name = wanted["name"]

        def call() -> Body:
            return self._objects.replace_namespaced_custom_object(
                *self._place(kind), name, whole, _request_timeout=self._timeout
            )

        try:
            return self._ask(f"replace {kind.KIND} {name}", call)
        except ApiException as error:
            if error.status in (_CONFLICT, _NOT_FOUND):
                raise AlreadyExists(f"{kind.KIND} {name} has changed") from None
            raise self._refused(f"replace {kind.KIND} {name}", error, kind) from None

    def get(self, kind: Resource, name: str) -> Body | None:
        """An object, or None where there is none."""

        def call() -> Body:
            return self._objects.get_namespaced_custom_object(*self._place(kind), name, _request_timeout=self._timeout)

        try:
            return self._ask(f"read {kind.KIND} {name}", call)
        except ApiException as error:
            if error.status == _NOT_FOUND:
                return None
            raise self._refused(f"read {kind.KIND} {name}", error, kind) from None

    def delete(self, kind: Resource, name: str) -> None:
        """Asks for the end of an object; it stays until all that it owns has ended. One that is gone is no error."""
        options = client.V1DeleteOptions(propagation_policy="Foreground")

        def call() -> object:
            return self._objects.delete_namespaced_custom_object(
                *self._place(kind), name, body=options, _request_timeout=self._timeout
            )

        try:
            self._ask(f"delete {kind.KIND} {name}", call)
        except ApiException as error:
            if error.status != _NOT_FOUND:
                raise self._refused(f"delete {kind.KIND} {name}", error, kind) from None

    def changes(self, kind: Resource, name: str, version: str, seconds: int) -> Iterator[tuple[str, Body]]:
        """Event types and bodies of one object since a version of it, for a while.

        It ends early where the connection breaks, the credentials have expired, or the version is too old (410); read
        the object anew and go on.
        """
        try:
            yield from (
                (event["type"], event["object"])
                for event in watch.Watch().stream(
                    self._objects.list_namespaced_custom_object,
                    *self._place(kind),
                    field_selector=f"metadata.name={name}",
                    resource_version=version,
                    timeout_seconds=seconds,
                    _request_timeout=(self._timeout[0], seconds + self._timeout[1]),
                )
            )
        except ApiException as error:
            if error.status not in (_EXPIRED, _GONE) and not _passes(error):
                raise self._refused(f"watch {kind.KIND} {name}", error, kind) from None
            log.debug("watch of %s ended: %s", name, error.reason)
        except (urllib3.exceptions.HTTPError, ValueError) as error:  # ValueError: a cut-off line is no JSON
            log.debug("watch of %s ended: %s", name, error)

    def pods(self, selector: str) -> list[Body]:
        """Pods with these labels."""

        def call() -> list[Body]:
            answer = self._core.list_namespaced_pod(
                self.namespace, label_selector=selector, _preload_content=False, _request_timeout=self._timeout
            )
            return list(json.loads(answer.data)["items"])

        try:
            return self._ask("list pods", call)
        except ApiException as error:
            raise self._refused("list pods", error) from None

    def log_lines(self, pod: str, container: str, *, since: int | None, follow: bool) -> Iterator[str]:
        """Lines of a container's log, each behind its time.

        Args:
            pod: its name.
            container: its name.
            since: only what is younger than this number of seconds; None: all.
            follow: waits for more until the container ends, as long as something comes at least every minute.

        Raises:
            ApiException: there is no log (yet).
            urllib3.exceptions.HTTPError: the connection broke.
        """
        more = {} if since is None else {"since_seconds": since}
        answer = self._core.read_namespaced_pod_log(
            pod, self.namespace, container=container, timestamps=True, follow=follow,
            _preload_content=False, _request_timeout=(self._timeout[0], 60.0), **more,
        )  # fmt: skip
        try:
            rest = b""
            for part in answer.stream(amt=None, decode_content=False):
                *lines, rest = (rest + part).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
            if rest and not follow:  # a followed log is asked for again, with the rest of this line
                yield rest.decode(errors="replace")
        finally:
            answer.close()
            answer.release_conn()

    def _place(self, kind: Resource) -> tuple[str, str, str, str]:
        return kind.GROUP, kind.VERSION, self.namespace, kind.PLURAL

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        """Calls until there is an answer or the patience is spent."""
        end, pause, renewed = time.monotonic() + self._patience, 0.2, False
        while True:
            try:
                return call()
            except ApiException as error:
                if error.status == _EXPIRED and self._given is None and not renewed:
                    renewed = True  # the token on disk may be newer than ours
                    self._connect()
                    continue
                if not _passes(error):
                    raise
                reason, wanted = f"{error.status} {error.reason}", _retry_after(error)
            except (urllib3.exceptions.HTTPError, ValueError) as error:
                reason, wanted = str(error), 0.0
            if time.monotonic() >= end:
                raise ClusterError(
                    f"cannot {what}: {self.host} has not answered for {self._patience:.0f} s, last: {reason}. What "
                    "runs on the cluster goes on; the same command attaches to it again"
                )
            log.warning("cannot %s yet: %s; trying again", what, reason)
            time.sleep(min(max(pause, wanted), max(0.0, end - time.monotonic())))
            pause = min(2 * pause, _LONGEST_PAUSE) * random.uniform(0.8, 1.0)

    def _refused(self, what: str, error: ApiException, kind: Resource | None = None) -> ClusterError:
        said = _message(error)
        advice = {
            _EXPIRED: "the credentials are wrong or have expired: renew the kubeconfig or the service account's token",
            403: f"give the service account this right in namespace {self.namespace} (docs/distributed.md), "
            "or free the quota that the message names",
            _NOT_FOUND: f"create namespace {self.namespace}"
            + (f", and install what brings {kind.PLURAL}.{kind.GROUP}" if kind else ""),
        }.get(error.status, "correct what the message names")
        return ClusterError(f"cannot {what} at {self.host}: {error.status} {said}; {advice}")


def _configuration() -> client.Configuration:
    """From the kubeconfig that KUBECONFIG names, else the pod's service account, else the user's own kubeconfig."""
    settings = client.Configuration()
    named = os.environ.get("KUBECONFIG")
    try:
        if not named and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(config_file=named, client_configuration=settings)
    except ConfigException as error:
        raise ClusterError(
            f"no cluster to talk to ({error}); run in a pod with a service account, or set KUBECONFIG"
        ) from None
    return settings


def _passes(error: ApiException) -> bool:
    return error.status == _MANY or error.status >= 500 or error.status == 0


def _retry_after(error: ApiException) -> float:
    headers: Mapping[str, str] = error.headers or {}
    try:
        return min(float(headers.get("Retry-After", 0)), _LONGEST_PAUSE)
    except ValueError:
        return 0.0


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
