"""The five directions of a catalogue as retrieval tasks of `mteb`, for any model that `mteb` can run.

    tasks = catalogue_tasks(Path("data"), Path("runs/local/regions"))
    mteb.evaluate(MoonEncoder(str(model), tasks=tasks), tasks)

A document of `mteb` has one text and one picture: the title, category and attributes of a product as words, and its
first picture. A MOON checkpoint reads the whole product instead, all pictures, core crops and fields by type, when its
encoder is given the tasks (`CatalogueTask.item`).

Products that were bought for a query in another split are no candidates for it; `mteb` knows that as a list of the
documents to rank (``top_ranked``), which is made only where there are such products. Needs the extra ``mteb``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from datasets import Dataset, Features, Image, Value
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.types import PromptType

from moon.catalog.store import Catalog
from moon.config import EvaluationParams
from moon.evaluation.tasks import DIRECTIONS, Benchmark, Direction, build_benchmark
from moon.items import ItemSource, query_key
from moon.model.item import Item

_LETTERS: Final = {"text": "t", "image": "i", "both": "it", "multimodal": "it"}
_DEEPEST: Final = 1000
_FEATURES: Final = Features({"id": Value("string"), "text": Value("string"), "image": Image()})


class CatalogueTask(AbsTaskRetrieval):
    """One direction of a catalogue's benchmark.

    ``hit_rate_at_k`` is our R@k, ``recall_at_k`` our recall@k. `mteb` rounds its means to five decimals.

    Args:
        direction: which.
        benchmark: queries and gallery.
        catalog: catalogue folder.
        source: the catalogue's products and queries as items.
        language: what the texts are in, as `mteb` writes it, such as ``eng-Latn``.
    """

    data_loaded: bool = False

    def __init__(
        self, direction: Direction, benchmark: Benchmark, catalog: Path, source: ItemSource, language: str
    ) -> None:
        self.direction = direction
        self._benchmark, self._source = benchmark, source
        self._images = Catalog.open(catalog).image_store()
        self._queries = {query.query_id: query for query in benchmark.asked(direction)}
        gallery = benchmark.gallery[direction.view]
        self.k_values = tuple(sorted({1, 3, 5, 10, 20, 100, min(len(gallery), _DEEPEST)}))
        self._metadata = _metadata(direction, benchmark.split, catalog, language)
        super().__init__()

    @property
    def metadata(self) -> TaskMetadata:
        """What `mteb` knows of the task. A property: `mteb` clears the attribute when it unloads the data."""
        return self._metadata

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Reads queries, documents and purchases from the catalogue; nothing is downloaded."""
        if self.data_loaded:
            return
        gallery = self._benchmark.gallery[self.direction.view]
        ids = set(gallery)
        left_out = {query_id: ids.intersection(query.known) for query_id, query in self._queries.items()}
        data = RetrievalSplitData(
            corpus=self._dataset([(one, *self._document(one)) for one in gallery]),
            queries=self._dataset([(one, query.text or "", query.image_id) for one, query in self._queries.items()]),
            relevant_docs={
                query_id: dict.fromkeys(sorted(ids.intersection(query.positives)), 1)
                for query_id, query in self._queries.items()
            },
            top_ranked={query_id: [one for one in gallery if one not in out] for query_id, out in left_out.items()}
            if any(left_out.values())
            else None,
        )
        self.dataset = {"default": {self._benchmark.split: data}}
        self.data_loaded = True

    def item(self, prompt_type: PromptType | None, id_: str) -> Item:
        """The whole query, or the product in the view of the direction."""
        if prompt_type == PromptType.query:
            return self._source.query(self._queries[id_].row)
        return self._source.product(id_).view(self.direction.view)  # type: ignore[arg-type]

    def _document(self, product_id: str) -> tuple[str, str | None]:
        row = self._source.products[product_id]
        values = [value for named in row["attributes"].values() for value in named]
        words = [row["title"] or "", " > ".join(row["category_path"] or ()), " ".join(values)]
        pictures = [one for one in row["image_ids"] or () if one in self._images]
        return ". ".join(part for part in words if part), pictures[0] if pictures else None

    def _dataset(self, rows: Sequence[tuple[str, str, str | None]]) -> Dataset:
        columns: dict[str, list[Any]] = {
            "id": [id_ for id_, _, _ in rows],
            "text": [text for _, text, _ in rows],
            "image": [{"bytes": self._images[one], "path": None} if one else None for _, _, one in rows],
        }
        return Dataset.from_dict(columns, features=_FEATURES)


def catalogue_tasks(
    catalog: Path,
    regions: Path,
    params: EvaluationParams | None = None,
    max_images: int = 2,
    language: str = "eng-Latn",
) -> list[CatalogueTask]:
    """The directions of a catalogue that have queries.

    Args:
        catalog: catalogue folder.
        regions: output of the regions step.
        params: split, gallery, max_queries and seed, as for the evaluate step.
        max_images: pictures of a product that a MOON checkpoint reads.
        language: of the texts, as `mteb` writes it.

    Raises:
        ValueError: as `build_benchmark`.
    """
    store = Catalog.open(catalog)
    source = ItemSource(catalog, regions, max_images)
    image_ids = store.table("images", ["image_id"]).column("image_id").to_pylist()
    benchmark = build_benchmark(
        list(source.products.values()), store.rows("interactions"), image_ids, query_key, params or EvaluationParams()
    )
    return [
        CatalogueTask(direction, benchmark, catalog, source, language)
        for direction in DIRECTIONS
        if benchmark.answerable(direction)
    ]


def _metadata(direction: Direction, split: str, catalog: Path, language: str) -> TaskMetadata:
    asked, found = _LETTERS[direction.modality], _LETTERS[direction.view]
    name = direction.name.title().replace("->", "To")
    both = {"t": ["text"], "i": ["image"], "it": ["image", "text"]}
    return TaskMetadata(
        name=f"Moon{name}Retrieval",
        description=f"Purchases of a catalogue: {direction.name}.",
        dataset={"path": str(catalog), "revision": Catalog.open(catalog).digest()},
        type="Any2AnyRetrieval",
        category=f"{asked}2{found}",
        modalities=sorted({*both[asked], *both[found]}),
        eval_splits=[split],
        eval_langs=[language],
        main_score="hit_rate_at_10",
        domains=["E-commerce"],
    )
