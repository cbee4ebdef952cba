"""Products of a catalogue embedded in shares: what one share leaves behind, from which an artefact is put together.

products.parquet   id, vector, and a small picture of each product, in the order of their ids
queries.parquet    view and vector of this share of the sampled queries
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon.catalog.store import reading
from moon.config import RegionsParams, ServingParams
from moon.retrieval.vectors import Vectors
from moon.serving import artefact
from moon.serving.artefact import Batch, Settings

_PRODUCTS, _QUERIES = "products.parquet", "queries.parquet"
_ROWS: Final = 1024


def assemble(
    revision: str,
    queries: Mapping[str, Vectors],
    batches: Iterable[Batch],
    params: ServingParams,
    regions: RegionsParams,
    folder: Path,
) -> Settings:
    """Writes the artefact of products that are embedded.

    Args:
        revision: of the model that embedded them.
        queries: view -> (Q, D) vectors, as `read_queries` gives them.
        batches: the products in ascending order of id.
        params: settings of the server and its index.
        regions: the detector's parameters.
        folder: where to.
    """
    settings = Settings(
        model_revision=revision,
        centroids={view: tuple(vectors_QD.mean(axis=0).tolist()) for view, vectors_QD in queries.items()},
        serving=params,
        regions=regions,
    )
    sample_QD = np.concatenate(list(queries.values())) if queries else None
    return artefact.write(folder, settings, batches, sample_QD)


def write_share(folder: Path, dim: int, batches: Iterable[Batch], queries: Mapping[str, Vectors]) -> int:
    """Writes a share; returns its number of products.

    Args:
        folder: where to.
        dim: dimensions of a vector.
        batches: the products in ascending order of id; there may be none.
        queries: view -> (Q, dim) vectors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vector, count = pa.list_(pa.float32(), dim), 0
    schema = pa.schema([("id", pa.string()), ("vector", vector), ("picture", pa.binary())])
    with pq.ParquetWriter(folder / _PRODUCTS, schema) as writer:
        for batch in batches:
            ids = [row["product_id"] for row in batch.products]
            pictures = list(batch.pictures) or [b""] * len(ids)
            writer.write_table(pa.table([ids, _column(batch.vectors, dim), pictures], schema=schema))
            count += len(ids)
    views = [view for view, vectors_QD in queries.items() for _ in range(len(vectors_QD))]
    stacked_QD = np.concatenate([np.empty((0, dim), np.float32), *queries.values()])
    table = pa.table([views, _column(stacked_QD, dim)], schema=pa.schema([("view", pa.string()), ("vector", vector)]))
    pq.write_table(table, folder / _QUERIES)
    return count


def read_batches(folders: Sequence[Path], products: Mapping[str, Mapping[str, Any]]) -> Iterator[Batch]:
    """The products of all shares in the order given, with the catalogue's rows of them.

    Raises:
        ValueError: a share cannot be read, or names a product that is not in ``products``.
    """
    for folder in folders:
        with reading(folder / _PRODUCTS):
            for found in pq.ParquetFile(folder / _PRODUCTS).iter_batches(batch_size=_ROWS):
                ids = found["id"].to_pylist()
                if foreign := [one for one in ids if one not in products]:
                    raise ValueError(f"{folder} has product {foreign[0]}, which the catalogue has not; embed it anew")
                rows = [products[one] for one in ids]
                yield Batch(products=rows, vectors=_vectors(found["vector"]), pictures=found["picture"].to_pylist())


def read_queries(folders: Sequence[Path]) -> dict[str, Vectors]:
    """View -> (Q, D) vectors of the queries of all shares.

    Raises:
        ValueError: a share cannot be read.
    """
    found: dict[str, list[Vectors]] = {}
    for folder in folders:
        with reading(folder / _QUERIES):
            table = pq.read_table(folder / _QUERIES).combine_chunks()
        views = np.array(table["view"].to_pylist(), object)
        vectors_QD = _vectors(table["vector"].combine_chunks())
        for view in dict.fromkeys(views.tolist()):
            found.setdefault(view, []).append(vectors_QD[views == view])
    return {view: np.concatenate(parts) for view, parts in sorted(found.items())}


def _column(vectors_ND: Vectors, dim: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors_ND, np.float32).ravel()), dim)


def _vectors(column: Any) -> Vectors:
    """A column of vectors as an (N, D) array."""
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) and column.num_chunks else column
    return np.asarray(column.flatten()).reshape(len(column), column.type.list_size)
