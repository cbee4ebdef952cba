"""Makes the trials of a sweep."""

from components.base import component


@component
def trials(recipe: str, space: str) -> list[dict[str, str]]:
    """Gives every combination of the values in a grid.

    Args:
        recipe: Text of a parameter file.
        space: JSON object, parameter of training or objectives -> list of values.
    """
    from moon.steps import sweep as step

    return list(step.trials(recipe=recipe, space=space))
