"""The fetch component on a DVC repository, and what its artefact says."""

from pathlib import Path

from kfp import dsl

from components.fetch.component import fetch
from moon.catalog.store import Catalog
from moon.steps import origins
from moon.steps.provenance import origin
from tests.catalog.dvc_repository import Repository, write_catalog


def test_the_artefact_names_the_version_it_holds(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    made = repository.snapshot(write_catalog(tmp_path / "drop", 5), tag="v1")
    catalog = dsl.Dataset(uri=str(tmp_path / "artefact"))
    digest = fetch.python_func(source=str(repository.folder), revision="v1", path="data", catalog=catalog)
    assert digest == made.digest == Catalog.open(tmp_path / "artefact").digest()
    size = sum(path.stat().st_size for path in (tmp_path / "drop").glob("*/*.parquet"))
    assert catalog.metadata == {
        **origin(),
        "source": str(repository.folder),
        "path": "data",
        "md5": made.md5,
        "data_digest": made.digest,
        "data_revision": made.commit,
        "size": size,
        "files": made.files - 1,  # the card is no shard
        "products": 5,
    }
    assert origins.of_catalog(Path(catalog.path))["dvc"] == made.commit  # what register reads of the artefact


def test_the_cache_key_follows_the_revision() -> None:
    inputs = fetch.component_spec.inputs
    assert {"source", "revision", "path", "version", "remote"} == set(inputs)
    assert not any(spec.type != "String" for spec in inputs.values())
