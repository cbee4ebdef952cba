"""The expectations: what must hold of every row, and what may fail for a small share.

Each expectation carries in ``meta`` the words that finish "N of M rows ..." when it is broken; Data Docs show them
as notes.
"""

from __future__ import annotations

from typing import Any, Final

from great_expectations import expectations as gxe

from moon.catalog.schema import SPLITS
from moon.config import ValidationParams

Expectations = list[gxe.Expectation]

_MIN_TITLE: Final = 2
_SHA256: Final = r"^[0-9a-f]{64}$"


def schema_suite() -> Expectations:
    """Every table has exactly the columns and types of the schema."""
    says = "are not as the schema says"
    return [_rule(gxe.ExpectColumnPairValuesToBeEqual, says, column_A="found", column_B="expected")]


def table_suites(params: ValidationParams) -> dict[str, Expectations]:
    """Suites of the frames that `moon.catalog.validation.frames.table_frames` makes."""
    share = {"mostly": 1.0 - params.fail_unexpected_share}
    return {
        "products": [
            _rows(params.min_products),
            *_key("product_id"),
            _present("title"),
            _least("title_length", _MIN_TITLE, f"have a title of less than {_MIN_TITLE} characters", **share),
            _least("category_levels", 1, "have no category", **share),
            _least("images", 1, "have no picture", **share),
            _most("unknown_images", 0, "name a picture that is not in the images table"),
            *_in_splits(),
        ],
        "images": [
            *_key("image_id"),
            _least("width", 2, "are less than 2 pixels wide"),
            _least("height", 2, "are less than 2 pixels high"),
            _rule(gxe.ExpectColumnValuesToMatchRegex, "have a malformed sha256", column="sha256", regex=_SHA256),
            _present("sha256"),
        ],
        "interactions": [
            _rows(params.min_interactions),
            *_key("query_id"),
            _true("asks", "have neither a query text nor a query picture"),
            _true("known_product", "bought a product that is not in the products table"),
            _true("known_image", "ask with a picture that is not in the images table"),
            _present("event"),
            _present("timestamp"),
            *_in_splits(),
        ],
        # Told in sentences of its own; here it is for the docs.
        "rejected": [gxe.ExpectColumnValuesToBeBetween(column="share", max_value=params.fail_rejected_share)],
    }


def _rule(kind: type[gxe.Expectation], says: str, **arguments: Any) -> gxe.Expectation:
    return kind(**arguments, notes=f"No rows that {says}", meta={"says": says})


def _rows(least: int) -> gxe.Expectation:
    return gxe.ExpectTableRowCountToBeBetween(min_value=least, meta={"least": least})


def _present(column: str) -> gxe.Expectation:
    return _rule(gxe.ExpectColumnValuesToNotBeNull, f"have no {column}", column=column)


def _key(column: str) -> Expectations:
    says = f"share their {column} with another row"
    return [_present(column), _rule(gxe.ExpectColumnValuesToBeUnique, says, column=column)]


def _in_splits() -> Expectations:
    says = f"have a split other than {', '.join(SPLITS)}"
    in_set = _rule(gxe.ExpectColumnValuesToBeInSet, says, column="split", value_set=list(SPLITS))
    return [_present("split"), in_set]  # a set passes over rows without a value


def _true(column: str, says: str) -> gxe.Expectation:
    return _rule(gxe.ExpectColumnValuesToBeInSet, says, column=column, value_set=[True])


def _least(column: str, value: float, says: str, **options: Any) -> gxe.Expectation:
    return _rule(gxe.ExpectColumnValuesToBeBetween, says, column=column, min_value=value, **options)


def _most(column: str, value: float, says: str) -> gxe.Expectation:
    return _rule(gxe.ExpectColumnValuesToBeBetween, says, column=column, max_value=value)
