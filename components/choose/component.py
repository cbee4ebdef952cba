"""Ranks the trials of a sweep."""

from kfp.dsl import Artifact, Input, Markdown, Metrics, Output

from components.base import component


@component
def choose(
    evaluations: Input[list[Artifact]],
    trials: list[dict[str, str]],
    recipe: str,
    measure: str,
    best: Output[Artifact],
    table: Output[Markdown],
    metrics: Output[Metrics],
) -> None:
    """Gives the recipe of the best trial, and how far it leads.

    Args:
        evaluations: Outputs of the evaluate component, one a trial.
        trials: Output of the trials component.
        recipe: Text of the parameter file that was changed.
        measure: Of retrieval, averaged over the directions and over seeds.
        best: The result, and the best recipe in "recipe.yaml".
        table: All settings, best first.
        metrics: The lead, and the spread over seeds beside it.
    """
    import shutil
    from pathlib import Path

    from moon.steps import sweep as step
    from moon.steps.flat import write_numbers

    found, changes = [Path(one.path) for one in evaluations], [one["changes"] for one in trials]
    out = Path(best.path)
    result = step.choose(evaluations=found, changes=changes, recipe=recipe, measure=measure, out=out)
    shutil.copyfile(out / step.TABLE, table.path)
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
