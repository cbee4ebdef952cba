"""The regions of a catalogue, found in shares by a `ParallelFor` and joined.

No ``from __future__ import annotations``: KFP reads the annotations of a pipeline as objects.
"""

from pathlib import Path

import yaml
from kfp import compiler, dsl

from components.merge_regions.component import merge_regions
from components.regions.component import regions
from moon.catalog.store import read_table
from moon.config import RegionsParams, to_json


def test_a_pipeline_of_shares_compiles(tmp_path: Path) -> None:
    @dsl.pipeline(name="shares")  # type: ignore[untyped-decorator]
    def shares(params: str) -> None:
        catalog = dsl.importer(artifact_uri="file:///catalog", artifact_class=dsl.Dataset).output
        with dsl.ParallelFor(["1/2", "2/2"]) as shard:
            part = regions(catalog=catalog, params=params, shard=shard)
        merge_regions(catalog=catalog, parts=dsl.Collected(part.outputs["found"]))

    target = tmp_path / "shares.yaml"
    compiler.Compiler().compile(shares, str(target))
    root = next(yaml.safe_load_all(target.read_text()))["root"]
    joined = root["dag"]["tasks"]["merge-regions"]["inputs"]["artifacts"]["parts"]
    assert joined["taskOutputArtifact"]["producerTask"].startswith("for-loop") and "parameterIterator" in str(root)


def test_shares_are_joined_to_the_whole(tiny_catalog: Path, tiny_regions: Path, tmp_path: Path) -> None:
    def artefact(kind: type[dsl.Artifact], name: str) -> dsl.Artifact:
        made = kind(uri=str(tmp_path / name))
        made.path = str(tmp_path / name)
        return made

    catalog = dsl.Dataset(uri=str(tiny_catalog))
    params = to_json(RegionsParams())
    parts = [artefact(dsl.Dataset, f"part-{i}") for i in (1, 2)]
    for i, part in enumerate(parts, 1):
        metrics = artefact(dsl.Metrics, f"metrics-{i}")
        regions.python_func(catalog=catalog, params=params, found=part, metrics=metrics, shard=f"{i}/2")
    found, metrics = artefact(dsl.Dataset, "found"), artefact(dsl.Metrics, "metrics")
    merge_regions.python_func(catalog=catalog, parts=parts, found=found, metrics=metrics)
    assert read_table(tmp_path / "found" / "regions").equals(read_table(tiny_regions / "regions"))
    assert metrics.metadata["images"] == read_table(tiny_catalog / "images").num_rows
