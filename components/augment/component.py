"""Makes augmented training products."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.base import component


@component
def augment(
    catalog: Input[Dataset],
    regions: Input[Dataset],
    model: Input[Model],
    params: str,
    augmented: Output[Dataset],
    metrics: Output[Metrics],
) -> None:
    """Makes edited pictures and enriched titles of the training products.

    Args:
        catalog: The catalogue.
        regions: Core regions of its pictures.
        model: The model that says whether an edited picture still shows the product.
        params: Section "augment" as JSON.
        augmented: Titles and pictures beside the catalogue.
        metrics: How many were kept and left out.
    """
    from pathlib import Path

    from moon.config import AugmentParams, from_json
    from moon.steps import augment as step
    from moon.steps.flat import write_numbers
    from moon.steps.provenance import origin

    result = step.run(
        catalog=Path(catalog.path),
        regions=Path(regions.path),
        model=Path(model.path),
        params=from_json(AugmentParams, params),
        out=Path(augmented.path),
    )
    augmented.metadata.update(origin(catalog.metadata, augment=params))
    metrics.metadata.update(write_numbers(result, Path(metrics.path)))
