"""Pipelines on a KFP API server (v2beta1): versions, runs and recurring runs, each made once however often it is asked.

service = PipelineService("http://ml-pipeline.kubeflow:8888", token=token)
service.upload(Path("pipelines/compiled/moon-train.yaml"))
service.run_pipeline("moon-train", {"data": "/mnt/moon/data"}, "retrain", key="2026-11-23T08")
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import kfp_server_api as api
import urllib3.exceptions

from moon.cluster.kfp_package import read_package

log = logging.getLogger(__name__)

EXPERIMENT: Final = "moon"
TOKEN: Final = Path("/var/run/secrets/kubeflow/pipelines/token")
"""Where a pod finds its token for the pipelines' API, if one is projected into it."""
POD_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_TIMEOUT: Final = (5.0, 15.0)
_PAGE: Final = 100


class PipelineServiceError(RuntimeError):
    """The API server refuses or does not answer; the message says what and what to do."""


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """A version of a pipeline on the server."""

    pipeline: str
    version: str
    """Its name, which follows its content."""
    pipeline_id: str
    version_id: str
    created: bool
    """False where the server had this content already."""


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """A recurring run."""

    name: str
    recurring_run_id: str
    created: bool
    """False where one with the same version, arguments and times was there."""
    replaced: int
    """Recurring runs of this name that it took the place of."""


class PipelineService:
    """A KFP API server.

    Args:
        host: its address, such as ``http://ml-pipeline.kubeflow:8888``.
        namespace: of the user, on a server for several users; empty on one for all.
        token: sent with every request; empty sends none.
        ca: file with the certificate of who signed the server's; empty trusts the system's.
        account: ServiceAccount that runs have the rights of; empty is the server's default.

    Raises:
        PipelineServiceError: there is no server, or it does not let us in.
    """

    def __init__(self, host: str, namespace: str = "", token: str = "", ca: str = "", account: str = "") -> None:
        if not host.startswith(("http://", "https://")):
            raise PipelineServiceError(
                f"the address of the pipelines' API is '{host}'; expected http://... or https://..."
            )
        self._host, self._namespace, self._account = host.rstrip("/"), namespace, account
        settings = api.Configuration(host=self._host)
        settings.retries = urllib3.Retry(2, connect=1, backoff_factor=0.2)
        if ca:
            settings.ssl_ca_cert = ca
        if token:
            settings.api_key, settings.api_key_prefix = {"authorization": token}, {"authorization": "Bearer"}
        health = api.HealthzServiceApi(api.ApiClient(settings))
        self._ask("reach it", lambda: health.healthz_service_get_healthz(_request_timeout=_TIMEOUT))
        self._client = self._ask("connect", lambda: _client(self._host, namespace, token, ca))

    def upload(self, package: Path) -> Uploaded:
        """Uploads a compiled pipeline as a version named by its content; the same content is uploaded once.

        Raises:
            ValueError: the file is no compiled pipeline that the server would take.
            PipelineServiceError: the server refuses it.
        """
        read = read_package(package)
        name, version = read.name, read.version
        pipeline_id = self._pipeline_id(name) or self._create_pipeline(name, package)
        known = self._version_id(pipeline_id, version)
        created = known is None
        if known is None:
            made = self._ask(
                f"upload {name} {version}",
                lambda: self._client.upload_pipeline_version(str(package), version, pipeline_id=pipeline_id),
            )
            known = made.pipeline_version_id
        return Uploaded(pipeline=name, version=version, pipeline_id=pipeline_id, version_id=known, created=created)

    def run_pipeline(
        self, name: str, arguments: Mapping[str, Any], job_name: str, key: str = "", *, version: str = ""
    ) -> str:
        """Starts a run of an uploaded pipeline and returns its id.

        Args:
            name: the pipeline's, such as ``moon-train``.
            arguments: of the pipeline; those left out have their defaults.
            job_name: name of the run.
            key: makes it idempotent: a run of this job name and key that is there already, however it ended, is
                returned and none is started. Empty always starts one.
            version: name of the version; empty is the newest.

        Raises:
            PipelineServiceError: there is no such pipeline or version, or the server refuses the run.
        """
        pipeline_id, version_id = self._find(name, version)
        experiment = self._experiment()
        title = f"{job_name}-{key}" if key else job_name
        if key and (runs := self._runs(experiment, title)):
            return str(runs[0].run_id)
        started = self._ask(
            f"run {name}",
            lambda: self._client.run_pipeline(
                experiment,
                title,
                pipeline_id=pipeline_id,
                version_id=version_id,
                params=dict(arguments),
                service_account=self._account or None,
            ),
        )
        return str(started.run_id)

    def schedule(
        self, name: str, arguments: Mapping[str, Any], job_name: str, cron: str, *, version: str = ""
    ) -> Scheduled:
        """Makes a recurring run; one of the same name that differs is replaced, one that is equal stays.

        Args:
            name: the pipeline's.
            arguments: of the pipeline.
            job_name: name of the recurring run.
            cron: when, in six fields, seconds first, such as ``0 15 * * * *``.
            version: name of the version; empty is the newest.

        Raises:
            ValueError: ``cron`` has not six fields.
            PipelineServiceError: as for `run_pipeline`.
        """
        if len(cron.split()) != 6:
            raise ValueError(f"the schedule is '{cron}'; expected six fields, seconds first, such as '0 15 * * * *'")
        pipeline_id, version_id = self._find(name, version)
        experiment = self._experiment()
        before = self._recurring(experiment, job_name)
        wanted = (version_id, dict(arguments), cron, self._account)
        kept = next((one for one in before if _described(one) == wanted), None)
        made = kept or self._ask(
            f"schedule {name}",
            lambda: self._client.create_recurring_run(
                experiment,
                job_name,
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                params=dict(arguments),
                pipeline_id=pipeline_id,
                version_id=version_id,
                service_account=self._account or None,
            ),
        )
        others = [one.recurring_run_id for one in before if one is not kept]
        for other in others:  # after the new one is there, so that a failure in between leaves no gap
            self._ask("remove the old schedule", partial(self._client.delete_recurring_run, other))
        identifier = str(made.recurring_run_id)
        return Scheduled(name=job_name, recurring_run_id=identifier, created=kept is None, replaced=len(others))

    def _create_pipeline(self, name: str, package: Path) -> str:
        def call() -> Any:
            body = api.V2beta1Pipeline(display_name=name, name=name, namespace=self._namespace or None)
            return self._client._pipelines_api.pipeline_service_create_pipeline(body)

        return str(self._ask(f"create pipeline {name}", call).pipeline_id)

    def _find(self, name: str, version: str) -> tuple[str, str]:
        """Ids of a pipeline and of its version."""
        pipeline_id = self._pipeline_id(name)
        if pipeline_id is None:
            raise PipelineServiceError(
                f"{self._host} has no pipeline {name}; 'moon pipeline upload {name}' puts it there"
            )
        found = self._version_id(pipeline_id, version) if version else self._newest(pipeline_id)
        if found is None:
            raise PipelineServiceError(
                f"pipeline {name} has no version {version or 'at all'}; 'moon pipeline upload {name}' makes one"
            )
        return pipeline_id, found

    def _pipeline_id(self, name: str) -> str | None:
        def page(token: str) -> Any:
            return self._client._pipelines_api.pipeline_service_list_pipelines(
                namespace=self._namespace or None, page_token=token, page_size=_PAGE, filter=_equals(name)
            )

        found = list(self._listed("list pipelines", page, "pipelines"))
        return str(found[0].pipeline_id) if found else None

    def _version_id(self, pipeline_id: str, version: str) -> str | None:
        found = [one for one in self._versions(pipeline_id, _equals(version)) if one.display_name == version]
        return str(found[0].pipeline_version_id) if found else None

    def _newest(self, pipeline_id: str) -> str | None:
        return next((str(one.pipeline_version_id) for one in self._versions(pipeline_id, None)), None)

    def _versions(self, pipeline_id: str, wanted: str | None) -> Iterator[Any]:
        """Newest first."""

        def page(token: str) -> Any:
            return self._client._pipelines_api.pipeline_service_list_pipeline_versions(
                pipeline_id, page_token=token, page_size=_PAGE, sort_by="created_at desc", filter=wanted
            )

        return self._listed("list versions", page, "pipeline_versions")

    def _experiment(self) -> str:
        made = self._ask(
            f"use experiment {EXPERIMENT}",
            lambda: self._client.create_experiment(EXPERIMENT, namespace=self._namespace or None),
        )
        return str(made.experiment_id)

    def _runs(self, experiment: str, name: str) -> list[Any]:
        def page(token: str) -> Any:
            return self._client.list_runs(token, _PAGE, "created_at", experiment_id=experiment, filter=_equals(name))

        return [one for one in self._listed("list runs", page, "runs") if one.display_name == name]

    def _recurring(self, experiment: str, name: str) -> list[Any]:
        def page(token: str) -> Any:
            return self._client.list_recurring_runs(token, _PAGE, experiment_id=experiment, filter=_equals(name))

        found = self._listed("list recurring runs", page, "recurring_runs")
        return [one for one in found if one.display_name == name]

    def _listed(self, what: str, page: Callable[[str], Any], field: str) -> Iterator[Any]:
        """Everything that a list holds, page after page."""
        token = ""
        while True:
            answer = self._ask(what, partial(page, token))
            yield from getattr(answer, field) or ()
            token = answer.next_page_token or ""
            if not token:
                return

    def _ask(self, what: str, call: Callable[[], Any]) -> Any:
        """One request, its failures as messages; what the SDK prints goes to standard error."""
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return call()
        except api.ApiException as error:
            raise self._refused(what, error) from None
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise PipelineServiceError(
                f"cannot {what}: nothing answers at {self._host} ({reason}); check the address, and that it can be "
                "reached from here, as by 'kubectl port-forward -n kubeflow svc/ml-pipeline 8888'"
            ) from None

    def _refused(self, what: str, error: api.ApiException) -> PipelineServiceError:
        said = _message(error)
        if error.status == 401:
            advice = "the token is missing or has expired: get a new one and give it by --token-file"
        elif "namespace" in said.lower():
            advice = (
                f"namespace '{self._namespace}' is not there or not yours: create its profile, or name another"
                if self._namespace
                else "this server is for several users: give --namespace"
            )
        elif error.status == 403:
            advice = "the account may not do this: give it the role kubeflow-pipelines-edit in its namespace"
        elif error.status == 404:
            advice = f"check that {self._host} is the API of Kubeflow Pipelines 2"
        else:
            advice = "correct what the message names" if (error.status or 500) < 500 else "try again later"
        return PipelineServiceError(f"cannot {what} at {self._host}: {error.status} {said}; {advice}")


def _client(host: str, namespace: str, token: str, ca: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import Client

        more = {"namespace": namespace} if namespace else {}
        return Client(host=host, existing_token=token or None, ssl_ca_cert=ca or None, **more)


def _equals(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def own_account(token: Path = POD_TOKEN) -> str:
    """The ServiceAccount that this pod runs as, read from its token; empty outside a pod and without a token."""
    try:
        payload = token.read_text(encoding="utf-8").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["kubernetes.io"]["serviceaccount"]["name"])
    except (FileNotFoundError, IndexError, ValueError, LookupError, TypeError):
        return ""


def _described(recurring: Any) -> tuple[str, dict[str, Any], str, str]:
    """What tells one recurring run from another of its name."""
    trigger = recurring.trigger.cron_schedule if recurring.trigger else None
    reference, config = recurring.pipeline_version_reference, recurring.runtime_config
    given = dict(config.parameters or {}) if config else {}
    version = reference.pipeline_version_id if reference else ""
    return (version, given, trigger.cron if trigger else "", recurring.service_account or "")


def _message(error: api.ApiException) -> str:
    try:
        told = json.loads(error.body)
        return str(told.get("message") or told.get("error") or error.reason)
    except (ValueError, TypeError, AttributeError):
        return str(error.reason)
