"""Splits the recipe into the parameters of each step."""

from typing import NamedTuple

from components.base import component


@component
def configure(
    recipe: str,
) -> NamedTuple(  # type: ignore[valid-type]
    "Sections",
    [
        ("validation", str),
        ("duplicates", str),
        ("regions", str),
        ("model", str),
        ("mining", str),
        ("augment", str),
        ("objectives", str),
        ("training", str),
        ("evaluation", str),
        ("gate", str),
        ("serving", str),
        ("drift", str),
        ("digest", str),
    ],
):
    """Refuses an unknown parameter before anything runs, and gives each step only its own.

    Args:
        recipe: Text of a parameter file.
    """
    from moon.steps import configure as step

    sections = step.run(recipe=recipe)
    names = (
        "validation duplicates regions model mining augment objectives training evaluation gate serving drift digest"
    )
    return tuple(sections[name] for name in names.split())
