"""Steps that bring a registered version into service: try it beside the one that serves, judge it, settle.

On this machine ``deployment`` is a folder with one search artefact a version, the servers' folders, and a note of what
serves. On a cluster it is the folder of the artefacts, on a volume that the predictors mount too, and the
InferenceService is the note.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlparse
from urllib.request import url2pathname

from moon.catalog.store import take_place
from moon.cluster.canary import Check
from moon.cluster.inferenceservice import Revision, predictor_name
from moon.cluster.kserve_rollout import KServeRollout, Serving
from moon.cluster.registry import LocalRegistry, ModelVersion
from moon.config import PipelineParams, ServingParams, from_json, parse_params
from moon.steps import canary, deploy, outcome

Verdict = Literal["promote", "roll back"]
_NOTE: Final = "rollout.json"
_SERVERS: Final = "servers"


@dataclass(frozen=True, kw_only=True)
class JudgeResult:
    """What is to become of the version that is tried."""

    verdict: Verdict
    stable: str
    canary: str
    reasons: list[str]
    """One sentence for each thing that was looked at."""


@dataclass(frozen=True, kw_only=True)
class SettleResult:
    """What serves now."""

    stable: str
    removed: str
    """The version that serves no longer; empty where there was none."""


@dataclass(frozen=True, kw_only=True)
class SwapResult:
    """The new search artefact of what serves."""

    version: str
    index_revision: str
    """Name of its content."""
    swap_seconds: float
    """Until the server on this machine answered from it; 0 where none runs here, as predictors look by themselves."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a model is served."""

    registry: Path
    deployment: Path
    params: ServingParams
    pipeline: PipelineParams

    @classmethod
    def of(cls, registry: str, deployment: str, params: str, pipeline: str) -> Target:
        """From what a component is given: two folders, and the sections ``serving`` and ``pipeline`` as JSON."""
        serving, rollout = from_json(ServingParams, params), from_json(PipelineParams, pipeline)
        return cls(registry=Path(registry), deployment=Path(deployment), params=serving, pipeline=rollout)

    def server(self, version: str) -> Path:
        """Folder of the result of `start`, and of a local server's state and log."""
        return self.deployment / _SERVERS / version

    def artefact(self, version: str) -> Path:
        """Search artefact of a version."""
        return self.deployment / version

    def model(self, version: str) -> Path:
        """Model folder of a version."""
        return Path(url2pathname(urlparse(self._registered(version).uri).path))

    def revision(self, version: str) -> Revision:
        """A version as KServe loads it."""
        return canary.revision(self.params, self._registered(version))

    def kserve(self) -> KServeRollout | None:
        """The cluster's form of the roll-out; None on this machine."""
        if self.pipeline.rollout == "local":
            return None
        from moon.cluster.kubernetes_api import Cluster

        return KServeRollout(Cluster(self.params.namespace), self.params)

    def state(self) -> Serving:
        """Which versions serve."""
        if (service := self.kserve()) is not None:
            return service.state()
        note = self.deployment / _NOTE
        return Serving(**json.loads(note.read_text(encoding="utf-8"))) if note.is_file() else Serving()

    def write(self, state: Serving) -> None:
        """Notes which versions serve on this machine."""
        self.deployment.mkdir(parents=True, exist_ok=True)
        partial = self.deployment / f".{_NOTE}"
        partial.write_text(json.dumps(dataclasses.asdict(state)) + "\n", encoding="utf-8")
        partial.replace(self.deployment / _NOTE)

    def _registered(self, version: str) -> ModelVersion:
        return LocalRegistry(self.registry).get(self.params.model_name, version)


def serves(*, target: Target) -> str:
    """The version that serves; empty where none does."""
    return target.state().stable


def start(*, target: Target, version: str, artefact: Path, catalog: Path, regions: Path) -> deploy.DeployResult:
    """Serves a registered version beside the one that serves, and asks it real questions in every protocol.

    Where the version serves already, it goes on with the new artefact. A canary that an earlier run has left is taken
    back first.

    Args:
        target: where.
        version: registered version, such as ``v3``.
        artefact: search artefact made with it.
        catalog: catalogue folder that the artefact was made of.
        regions: output of the regions step.

    Raises:
        ValueError: the version is not registered.
        DeploymentError: it did not become ready.
        RuntimeError: it gave a wrong answer or none.
    """
    model = target.model(version)
    clean(target=target)
    install(target, version, artefact)
    service, serving = target.kserve(), target.state()
    if service is not None:
        service.begin(target.revision(version), target.revision(serving.stable) if serving.stable else None)
        seconds = service.wait(version, target.pipeline.ready_seconds, target.pipeline.poll_seconds)
        return _ask_on_cluster(target, version, seconds, catalog, regions)
    if version != serving.stable:
        target.write(Serving(stable=serving.stable, canary=version))
    where = {"artefact": target.artefact(version).resolve(), "out": target.server(version)}
    return deploy.serve(model=model, catalog=catalog, regions=regions, **where)


def install(target: Target, version: str, artefact: Path) -> None:
    """Puts a search artefact where the servers of a version read it; one that runs changes over to it."""
    place = target.artefact(version)
    partial = place.with_name(f".{version}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(artefact, partial)
        take_place(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def judge(*, target: Target, version: str, replay: Path, out: Path) -> JudgeResult:
    """Decides about the version that is tried, by what it answered and by its evaluation beside the stable one's.

    On a cluster the traffic of both is read from Prometheus until there is enough of it, or the time is up.

    Args:
        target: where it is tried.
        version: the one that `start` started.
        replay: output of the replay step that asked it.
        out: gets ``metrics.json``.

    Raises:
        ValueError: replay has not run, or a version is not registered.
        PrometheusError: Prometheus does not answer.
    """
    stable = target.state().stable
    if target.pipeline.prometheus and stable not in ("", version):
        verdict, reasons = _watch(target, stable, version, out)
    else:
        found = [*_replayed(replay, target.params), *_quality(target, stable, version)]
        verdict = "promote" if all(check.met for check in found) else "roll back"
        reasons = [check.reason for check in found]
    return outcome.save(out, JudgeResult(verdict=verdict, stable=stable, canary=version, reasons=reasons))


def settle(*, target: Target, version: str, verdict: str) -> SettleResult:
    """Promotes the version that was tried, or takes it back.

    Args:
        target: where it was tried.
        version: the one that `start` started.
        verdict: "promote" or "roll back".

    Raises:
        ValueError: another verdict, or this version is not tried.
    """
    serving = target.state()
    if verdict not in ("promote", "roll back"):
        raise ValueError(f"the verdict on {version} is '{verdict}'; expected 'promote' or 'roll back'")
    if version == serving.stable:
        return SettleResult(stable=version, removed="")
    if verdict == "roll back" and version != serving.canary:
        return SettleResult(stable=serving.stable, removed="")
    if version != serving.canary:
        raise ValueError(f"{target.deployment} tries '{serving.canary}' beside '{serving.stable}', not {version}")
    kept, removed = (version, serving.stable) if verdict == "promote" else (serving.stable, version)
    if (service := target.kserve()) is not None:
        service.settle(target.revision(kept) if kept else None)
    else:
        target.write(Serving(stable=kept))
        if removed:
            deploy.stop(target.server(removed))
    return SettleResult(stable=kept, removed=removed)


def clean(*, target: Target) -> str:
    """Takes back a version that was tried and neither promoted nor taken back; returns it, or an empty text."""
    version = target.state().canary
    if version:
        settle(target=target, version=version, verdict="roll back")
    return version


def swap(*, target: Target, version: str, artefact: Path) -> SwapResult:
    """Gives the servers of the version that serves a new search artefact, between two requests.

    Args:
        target: where it serves.
        version: that was found to serve, by which the artefact was made.
        artefact: the new one.

    Raises:
        ValueError: another version serves by now.
    """
    if (stable := target.state().stable) != version:
        raise ValueError(f"{target.deployment} serves '{stable}', the artefact was made with {version}; run again")
    from moon.serving.artefact import read_settings

    settings, seconds = read_settings(artefact), 0.0
    install(target, version, artefact)
    if target.kserve() is None and deploy.running(target.server(version)):
        seconds = deploy.wait_swapped(target.server(version), settings, target.params.startup_seconds)
    return SwapResult(version=version, index_revision=settings.index_revision, swap_seconds=seconds)


def model_folder(*, registry: Path, version: str, params: str) -> Path:
    """The folder of a registered model.

    Args:
        registry: registry folder.
        version: registered version.
        params: section ``serving`` as JSON, which names the model.

    Raises:
        ValueError: ``version`` is empty or not registered.
    """
    if not version:
        raise ValueError("no version of the model serves yet: run moon-train first")
    return Target.of(str(registry), "", params, "{}").model(version)


def finish(*, registry: Path, deployment: Path, recipe: str, state: str, error: str) -> str:
    """Takes back what was left on trial and tells how a run ended, in Markdown.

    Args:
        registry: registry folder.
        deployment: folder of the deployment.
        recipe: text of the parameter file that the run was given.
        state: SUCCEEDED, FAILED or CANCELLED, as KFP says.
        error: what KFP says of the failure.

    Raises:
        ParamsError: the recipe cannot be read; such a run has deployed nothing.
    """
    params = parse_params(recipe, where="recipe")
    target = Target(registry=registry, deployment=deployment, params=params.serving, pipeline=params.pipeline)
    removed = clean(target=target)
    lines = [f"# Run {state.lower()}", "", f"- serving: {target.state().stable or 'nothing'}"]
    if removed:
        lines.append(f"- {removed} was on trial when the run ended, and was taken back")
    if error:
        lines.append(f"- error: {error}")
    return "\n".join(lines) + "\n"


def stop(deployment: Path) -> None:
    """Stops all servers of this machine; what serves stays noted. Safe to repeat."""
    for server in (deployment / _SERVERS).glob("*"):
        deploy.stop(server)


def _ask_on_cluster(target: Target, version: str, seconds: float, catalog: Path, regions: Path) -> deploy.DeployResult:
    """The answers of a predictor on a cluster, over REST."""
    from moon.items import ItemSource
    from moon.serving.artefact import read_settings
    from moon.serving.client import Client

    name = predictor_name(target.params, version)
    url = (target.pipeline.url or f"http://{{predictor}}.{target.params.namespace}.svc").format(predictor=name)
    source, settings = ItemSource(catalog, regions), read_settings(target.artefact(version))
    with Client(url, "", target.params.model_name) as client:
        answers = deploy.ask(client, source, catalog)
    return outcome.save(
        target.server(version),
        deploy.DeployResult(
            url=url,
            grpc_url="",
            pid=0,
            model_revision=settings.model_revision,
            ready_seconds=seconds,
            products=len(source.products),
            index_revision=settings.index_revision,
            index=settings.index,
            index_recall=settings.index_recall,
            answers=answers,
        ),
    )


def _watch(target: Target, stable: str, version: str, out: Path) -> tuple[Verdict, list[str]]:
    """The verdict of a canary's real traffic; one that has too little in time is taken back."""
    pipeline, begun = target.pipeline, time.monotonic()
    while True:
        found = canary.run(
            registry=target.registry,
            stable=stable,
            canary=version,
            prometheus=pipeline.prometheus,
            window=pipeline.canary_window,
            params=target.params,
            out=out,
        )
        if found.verdict in ("promote", "roll back"):
            return ("promote" if found.verdict == "promote" else "roll back"), found.reasons
        if time.monotonic() - begun >= pipeline.canary_seconds:
            late = f"Failed: it could not be judged within {pipeline.canary_seconds:.0f} s."
            return "roll back", [*found.reasons, late]
        time.sleep(pipeline.poll_seconds)


def _replayed(replay: Path, params: ServingParams) -> Iterator[Check]:
    """Whether replayed traffic was answered."""
    sent = outcome.read(replay, "windows", "errors", "p95_ms")
    asked = sum(sent["windows"].values()) + sent["errors"]
    met = sent["errors"] <= params.canary_max_failures * asked
    yield Check(
        met=met,
        reason=f"{'Met' if met else 'Failed'}: {sent['errors']} of {asked} replayed requests failed, at most "
        f"{params.canary_max_failures:.3%} may; 95 % were answered within {sent['p95_ms']:.0f} ms.",
    )


def _quality(target: Target, stable: str, version: str) -> Iterator[Check]:
    if stable in ("", version):
        yield Check(met=True, reason=f"Absent: no other version serves that {version} could be compared with.")
        return
    store = LocalRegistry(target.registry)
    yield from canary.quality(*(store.get(target.params.model_name, one) for one in (stable, version)))
