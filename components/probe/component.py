"""Asks the model server the probe set."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components.base import component


@component
def probe(url: str, catalog: Input[Dataset], recipe: str, answers: Output[Dataset], metrics: Output[Metrics]) -> None:
    """Asks the server queries of the catalogue whose right products are known.

    Args:
        url: Address of the model server.
        catalog: The catalogue whose held-out queries are asked.
        recipe: Text of a parameter file.
        answers: Embeddings and products found.
        metrics: Recall, and the model that answered.
    """
    from pathlib import Path

    from moon.config import parse_params
    from moon.steps import probe as step
    from moon.steps.flat import write_numbers

    data = Path(catalog.path)
    result = step.run(url=url, catalog=data, params=parse_params(recipe).drift, out=Path(answers.path))
    answers.metadata.update(model_revision=result.model_revision, index_revision=result.index_revision)
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
