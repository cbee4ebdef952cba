"""Splits the recipe into the parameters of each step."""

from typing import NamedTuple

from kfp.dsl import Artifact, Output

from components.base import component


@component
def configure(recipe: str, recipe_file: Output[Artifact]) -> NamedTuple(  # type: ignore[valid-type]
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
        ("launch", str),
        ("pipeline", str),
        ("evaluation", str),
        ("gate", str),
        ("serving", str),
        ("drift", str),
        ("digest", str),
        ("cpu", str),
        ("memory", str),
        ("shards", list),
    ],
):
    """Refuses an unknown parameter before anything runs, and gives each step only its own.

    Args:
        recipe: Text of a parameter file.
        recipe_file: The recipe with every default written out, named by its digest.
    """
    from pathlib import Path

    from moon.steps import configure as step
    from moon.steps.provenance import origin

    made = step.run(recipe=recipe)
    Path(recipe_file.path).write_text(made.text, encoding="utf-8")
    recipe_file.metadata.update(origin(), recipe_digest=made.sections["digest"])
    names = "validation duplicates regions model mining augment objectives training launch pipeline evaluation gate"
    sections = [made.sections[name] for name in f"{names} serving drift digest".split()]
    return (*sections, made.cpu, made.memory, made.shards)
