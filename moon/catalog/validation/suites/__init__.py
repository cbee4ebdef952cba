"""The suites in the order they run; one topic a file: a frame and the rules about it."""

from __future__ import annotations

from typing import Final

from moon.catalog.validation.rules import Suite
from moon.catalog.validation.suites.attributes import ATTRIBUTE_VALUES, ATTRIBUTES
from moon.catalog.validation.suites.categories import CATEGORIES
from moon.catalog.validation.suites.images import IMAGES
from moon.catalog.validation.suites.interactions import INTERACTIONS
from moon.catalog.validation.suites.leakage import LEAKAGE, SPLITS
from moon.catalog.validation.suites.links import BOXES, RELATIONS
from moon.catalog.validation.suites.pixels import PICTURE_SAMPLE, PICTURE_SHARDS
from moon.catalog.validation.suites.products import PRODUCTS
from moon.catalog.validation.suites.purchases import PURCHASES
from moon.catalog.validation.suites.queries import QUERIES
from moon.catalog.validation.suites.rejected import REJECTED
from moon.catalog.validation.suites.schema import SCHEMA
from moon.catalog.validation.suites.traffic import TRAFFIC

SUITES: Final[tuple[Suite, ...]] = (
    SCHEMA,
    PRODUCTS,
    CATEGORIES,
    ATTRIBUTES,
    ATTRIBUTE_VALUES,
    IMAGES,
    PICTURE_SHARDS,
    PICTURE_SAMPLE,
    INTERACTIONS,
    QUERIES,
    SPLITS,
    LEAKAGE,
    PURCHASES,
    TRAFFIC,
    RELATIONS,
    BOXES,
    REJECTED,
)
"""The first decides whether the others run, because they read the columns that it checks."""
