"""The decorator every component is made with.

Component files hold no ``from __future__ import annotations``: KFP reads the annotations as objects. Only the body
of a component travels to its container, so it imports what it needs, and nothing but `moon`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from kfp import dsl

from moon import telemetry

IMAGES = Path(__file__).with_name("images.yaml")


def images() -> dict[str, str]:
    """Name of an image -> where it lies, by digest once it has been published."""
    return dict(yaml.safe_load(IMAGES.read_text(encoding="utf-8"))["images"])


def image(component: str = "") -> str:
    """The image that a component runs in, or without a name the one that holds what every component needs.

    Raises:
        ValueError: ``images.yaml`` gives the component no image, or one that it does not name.
    """
    named = yaml.safe_load(IMAGES.read_text(encoding="utf-8"))
    target = named["components"].get(component) if component else "pipeline"
    if target not in named["images"]:
        raise ValueError(
            f"{IMAGES}: component '{component}' has image {target!r}; expected one of {[*named['images']]}"
        )
    return str(named["images"][target])


def component(function: Callable[..., Any], **options: Any) -> Any:
    """Makes a KFP component that installs nothing when it runs and reports no usage; ``options`` are `dsl.component`'s.

    Use `functools.partial` to give options to the decorator.
    """
    made = dsl.component(function, base_image=image(function.__name__), install_kfp_package=False, **options)
    made.component_spec.implementation.container.env = dict(telemetry.OFF)
    return made
