"""Makes the windows of the collected traffic."""

from kfp.dsl import Metrics, Output

from components.base import component


@component
def windows(root: str, service: str, recipe: str, metrics: Output[Metrics]) -> str:
    """Makes every window that is complete, and gives the name of the service's newest.

    Args:
        root: Folder of log and windows, on a volume.
        service: Name of the InferenceService.
        recipe: Text of a parameter file.
        metrics: Windows made in this run.
    """
    from pathlib import Path

    from moon.config import parse_params
    from moon.steps import windows as step
    from moon.steps.flat import write_numbers

    out = Path(metrics.path)
    made = step.run(root=Path(root), params=parse_params(recipe).collector, out=out.parent / "windows").windows
    counts = {"windows": len(made), "rows": sum(one.rows for one in made)}
    metrics.metadata.update(write_numbers(counts, out))
    return step.newest(Path(root), service)
