"""Shapes of the search routes' answers, for the OpenAPI document; the routes write their JSON themselves."""

from __future__ import annotations

from pydantic import BaseModel


class Product(BaseModel):
    """A product found."""

    id: str
    title: str
    category_path: list[str]
    score: float
    """Inner product of unit vectors, in [-1, 1]."""
    has_picture: bool
    """Whether ``GET /products/{product_id}/picture`` has one."""


class Corners(BaseModel):
    """A box in pixels of the upright photo, exclusive at the far edge."""

    x0: float
    y0: float
    x1: float
    y1: float


class CoreRegion(BaseModel):
    """Where on the photo the product was seen."""

    box: Corners
    detector: str
    score: float
    width: int
    height: int


class Latency(BaseModel):
    """Where the time went, milliseconds."""

    embed: float
    search: float
    total: float


class Found(BaseModel):
    """Answer of ``POST /search``."""

    products: list[Product]
    region: CoreRegion | None
    model_revision: str
    index_revision: str
    latency_ms: Latency
    embedding: list[float] | None = None
    """The query's vector where ``return_embedding`` asks for it."""


class CategoryCount(BaseModel):
    """A category with its parents, and how many products it holds."""

    path: list[str]
    products: int


class ValueCount(BaseModel):
    """A value and how many products have it."""

    value: str
    products: int


class AttributeCount(BaseModel):
    """An attribute's most frequent values."""

    key: str
    values: list[ValueCount]
    complete: bool
    """Whether these are all its values."""


class Facets(BaseModel):
    """Answer of ``GET /facets``: what products can be filtered by."""

    products: int
    index_revision: str
    categories: list[CategoryCount]
    attributes: list[AttributeCount]
    complete: bool
    """Whether these are all categories and attributes."""
