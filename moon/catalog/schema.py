"""The tables of a catalogue and their Arrow schemas.

A catalogue is a folder with one sub-folder a table, each holding Parquet shards that Hugging Face ``datasets`` reads.
Ids are unique strings. Boxes are ``x0, y0, x1, y1`` in pixels of the stored picture, exclusive at the far edge.
"""

from __future__ import annotations

import json
from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = "1"
SPLITS: Final = ("train", "val", "test")

_TEXT: Final = pa.string()
_TEXTS: Final = pa.list_(pa.string())
# Physically what an Arrow map<string, list<string>> is, written as a list because `datasets` reads no map type.
_ATTRIBUTES: Final = pa.list_(pa.struct([("key", _TEXT), ("values", _TEXTS)]))
_BOX: Final = [("x0", pa.float32()), ("y0", pa.float32()), ("x1", pa.float32()), ("y1", pa.float32())]


def _schema(fields: list[tuple[str, pa.DataType]], image: str = "") -> pa.Schema:
    """A schema with our version and, where it holds a picture, the mark that makes `datasets` decode it."""
    metadata = {"moon.schema_version": SCHEMA_VERSION}
    if image:
        features = {
            name: {"_type": "Image"} if name == image else {"dtype": str(kind), "_type": "Value"}
            for name, kind in fields
        }
        metadata["huggingface"] = json.dumps({"info": {"features": features}})
    return pa.schema(fields, metadata=metadata)


PRODUCTS: Final = _schema(
    [
        ("product_id", _TEXT),
        ("title", _TEXT),
        ("description", _TEXT),
        ("category_path", _TEXTS),
        ("attributes", _ATTRIBUTES),
        ("image_ids", _TEXTS),
        ("split", _TEXT),
    ]
)
IMAGES: Final = _schema(
    [
        ("image_id", _TEXT),
        ("image", pa.struct([("bytes", pa.binary()), ("path", _TEXT)])),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", _TEXT),
    ],
    image="image",
)
INTERACTIONS: Final = _schema(
    [
        ("query_id", _TEXT),
        ("query_text", _TEXT),
        ("query_image_id", _TEXT),
        ("product_id", _TEXT),
        ("event", _TEXT),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("split", _TEXT),
    ]
)
RELATIONS_TABLE: Final = _schema(
    [("product_id", _TEXT), ("other_id", _TEXT), ("relation", _TEXT), ("weight", pa.float32())]
)
"""``relation`` is same, substitute or complement."""
BOXES: Final = _schema([("image_id", _TEXT), *_BOX])
"""True product boxes where they are known; a picture may have several."""
REJECTED: Final = _schema([("table", _TEXT), ("row_id", _TEXT), ("reason", _TEXT), ("detail", _TEXT)])
"""Rows that could not enter the catalogue; ``reason`` is a short fixed code, ``detail`` says what was found."""
REGIONS: Final = _schema([("image_id", _TEXT), *_BOX, ("score", pa.float32()), ("detector", _TEXT)])
"""One detected core region a picture; detector ``full`` marks the fall-back to the whole picture."""
NEGATIVES: Final = _schema(
    [
        ("query_id", _TEXT),
        ("product_id", _TEXT),
        ("negative_ids", _TEXTS),
        ("scores", pa.list_(pa.float32())),
        ("miner", _TEXT),
    ]
)
HASHES: Final = _schema(
    [("image_id", _TEXT), ("sha256", _TEXT), ("hashes", pa.list_(pa.uint64())), ("thumb", pa.binary())]
)
"""Perceptual hashes and the 32 x 32 RGB thumbnail of every picture; each shard is of a shard of ``images``."""
DUPLICATES: Final = _schema(
    [
        ("product_id", _TEXT),
        ("group_id", _TEXT),
        ("evidence", _TEXT),
        ("other_id", _TEXT),
        ("picture_distance", pa.int32()),
        ("title_similarity", pa.float32()),
    ]
)
"""Products with a near-duplicate; ``other_id`` is the nearest member of the group, ``evidence`` what the two share:
picture, title or both. The distance is in bits of the perceptual hash, null without that evidence."""
LEAKS: Final = _schema(
    [
        ("kind", _TEXT),
        ("id", _TEXT),
        ("split", _TEXT),
        ("other_id", _TEXT),
        ("other_split", _TEXT),
        ("picture_distance", pa.int32()),
    ]
)
"""Near-duplicates across splits: ``kind`` is product, query_product or query_query, and a query is named by its photo;
the distance is null where only the titles say so."""
RELABEL: Final = _schema(
    [
        ("query_id", _TEXT),
        ("product_id", _TEXT),
        ("candidate_id", _TEXT),
        ("score", pa.float32()),
        ("positive_score", pa.float32()),
    ]
)
"""Candidates that mining took for unlabelled positives of the query that bought ``product_id``; a person decides."""
TITLES: Final = _schema([("product_id", _TEXT), ("title", _TEXT)])
"""Enriched titles; a product that is not here keeps its own."""
PICTURES: Final = _schema(
    [
        ("image_id", _TEXT),
        ("source_id", _TEXT),
        ("product_id", _TEXT),
        ("edit", _TEXT),
        ("image", pa.struct([("bytes", pa.binary()), ("path", _TEXT)])),
        ("width", pa.int32()),
        ("height", pa.int32()),
        *_BOX,
        ("similarity", pa.float32()),
    ],
    image="image",
)
"""Edited copies of the picture ``source_id``, each with the box of the product in it."""


def embeddings_schema(dim: int) -> pa.Schema:
    """The schema of an embeddings table of ``dim`` dimensions; ``view`` is text, image or multimodal."""
    return _schema(
        [
            ("id", _TEXT),
            ("view", _TEXT),
            ("vector", pa.list_(pa.float32(), dim)),
            ("model_revision", _TEXT),
        ]
    )


CATALOG_TABLES: Final[dict[str, pa.Schema]] = {
    "products": PRODUCTS,
    "images": IMAGES,
    "interactions": INTERACTIONS,
    "relations": RELATIONS_TABLE,
    "boxes": BOXES,
    "rejected": REJECTED,
}
"""Tables of a catalogue folder. Steps write the other tables beside it, never into it."""
