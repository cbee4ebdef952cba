"""The front of the chain in KFP's local runner: caching, failures, the exit handler."""

from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.configure.component import configure
from components.fetch.component import fetch
from components.finish.component import finish
from components.merge_regions.component import merge_regions
from components.regions.component import regions
from pipelines import local

RECIPE = "regions: {detector: full}\npipeline: {shards: 2}"


@dsl.pipeline(name="front")
def front(data: str, version: str, recipe: str, deployment: str) -> None:
    params = configure(recipe=recipe).outputs
    ended = finish(registry=deployment, deployment=deployment, recipe=recipe).set_caching_options(False)
    with dsl.ExitHandler(ended):
        fetched = fetch(source=data, version=version).set_retry(3, "60s")
        catalog = fetched.outputs["catalog"]
        with dsl.ParallelFor(params["shards"]) as shard:
            part = regions(catalog=catalog, params=params["regions"], shard=shard)
        merge_regions(catalog=catalog, parts=dsl.Collected(part.outputs["found"]))


class Runs:
    """Runs the pipeline above in one folder."""

    def __init__(self, folder: Path, catalog: Path) -> None:
        self.folder, self.catalog = folder, catalog
        self.watched: list[tuple[str, bool]] = []

    def __call__(self, **changes: Any) -> dict[str, list[bool]]:
        """Name of every task -> whether it was cached, for each of its shares."""
        arguments = {
            "data": str(self.catalog),
            "version": "",
            "recipe": RECIPE,
            "deployment": str(self.folder / "deployment"),
        }
        done = local.run(front, {**arguments, **changes}, self.folder / "kfp", self.folder / "log", self._watch)
        found: dict[str, list[bool]] = {}
        for task in done:
            found.setdefault(task.name, []).append(task.cached)
        return found

    def _watch(self, name: str, task: local.TaskRun | None) -> None:
        self.watched.append((name, task is not None))


@pytest.fixture
def run(tmp_path: Path, tiny_catalog: Path) -> Runs:
    return Runs(tmp_path, tiny_catalog)


@pytest.mark.slow
def test_only_what_depends_on_a_change_runs_again(run: Runs) -> None:
    ran = {"configure": [False], "fetch": [False], "regions": [False, False], "merge-regions": [False]}
    assert run() == {**ran, "finish": [False]}
    for name in ("configure", "fetch", "regions"):  # KFP orders independent tasks by chance
        assert run.watched.index((name, False)) < run.watched.index((name, True))
    assert run.watched.index(("regions", True)) < run.watched.index(("merge-regions", False))
    cached = {name: [True] * len(each) for name, each in ran.items()}
    assert run() == {**cached, "finish": [False]}
    other = f"{RECIPE}\ntraining: {{steps: 3}}"
    assert run(recipe=other) == {**cached, "configure": [False], "finish": [False]}
    other = RECIPE.replace("full", "full, pad: 0.1")
    assert run(recipe=other) == {**ran, "fetch": [True], "finish": [False]}


@pytest.mark.slow
def test_a_failure_is_named_with_its_reason_and_the_exit_handler_runs(run: Runs) -> None:
    with pytest.raises(local.PipelineError, match="^fetch failed: ValueError: .* holds data version .* expected abc"):
        run(version="abc")
    ended = [name for name, over in run.watched if over]
    assert ended[-1] == "finish" and "regions" not in ended and ended.count("fetch") == 1
    assert "holds data version" in (run.folder / "log").read_text()
    [summary] = (run.folder / "kfp").glob("*/finish/summary")
    assert summary.read_text().startswith("# Run failed\n\n- serving: nothing")
    with pytest.raises(local.PipelineError, match="^configure failed: .*nearest known one is 'regions'"):
        run(recipe="region: {}")


def test_a_change_of_our_code_changes_the_image_and_so_the_cache() -> None:
    before = {executor["container"]["image"] for executor in front.pipeline_spec.deployment_spec["executors"].values()}
    changed = local.with_image(front, "registry.local/other-python:1")
    after = {executor["container"]["image"] for executor in changed.pipeline_spec.deployment_spec["executors"].values()}
    assert after == {"registry.local/other-python:1"} and before != after
    assert local.source_digest() != local.source_digest("pipelines")


def test_a_path_that_the_runner_would_spoil_is_refused(run: Runs, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="python3"):
        run(data=str(tmp_path / "python3" / "data"))
