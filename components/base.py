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


def image() -> str:
    """The image that components run in."""
    return str(yaml.safe_load(IMAGES.read_text(encoding="utf-8"))["moon"])


def component(function: Callable[..., Any]) -> Any:
    """Makes a KFP component that installs nothing when it runs and reports no usage."""
    made = dsl.component(function, base_image=image(), install_kfp_package=False)
    made.component_spec.implementation.container.env = dict(telemetry.OFF)
    return made
