from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moon.config import RegionsParams, ServingParams
from moon.items import ItemSource
from moon.model import Embedder
from moon.serving import building
from moon.serving.artefact import read_settings
from moon.serving.products import Products
from moon.steps import embed, index, shares
from moon.steps.purchases import usable_purchases


@pytest.mark.parametrize("length", [0, 1, 5, 12])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_shares_are_even_and_together_the_whole(length: int, count: int) -> None:
    whole = list(range(length))
    parts = [shares.share(whole, name) for name in shares.names(count)]
    assert [one for part in parts for one in part] == whole == shares.share(whole, "")
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("name", ["0/2", "3/2", "1", "1/", "a/b", "-1/2"])
def test_a_malformed_share_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected i/n from 1/n to n/n"):
        shares.share([1, 2], name)


def test_an_artefact_of_shares_is_that_of_one_run(
    tiny_model: Path, tiny_catalog: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    params, given = ServingParams(thumbnail_pixels=32), {"catalog": tiny_catalog, "regions": tiny_regions}
    parts = []
    for number, name in enumerate(shares.names(3)):
        parts.append(tmp_path / f"part-{number}")
        made = embed.run(model=tiny_model, **given, params=params, out=parts[-1], shard=name)
        assert (made.shard, made.products > 0, made.queries > 0) == (name, True, True)
    result = index.run(
        catalog=tiny_catalog, parts=parts[::-1], params=params, regions_params=RegionsParams(), out=tmp_path / "index"
    )
    embedder = Embedder.load(tiny_model)
    source = ItemSource(tiny_catalog, tiny_regions, embedder.processor.max_images)
    purchases = usable_purchases(source, tiny_catalog)
    whole = building.build(embedder, source, purchases, params, RegionsParams(), tmp_path / "whole")
    made_dir = tmp_path / "index" / index.ARTEFACT
    assert (result.products, result.model_revision) == (len(source.products), embedder.revision)
    mine, theirs = Products(made_dir / "products"), Products(tmp_path / "whole" / "products")
    assert mine.ids.to_pylist() == theirs.ids.to_pylist()
    for row in range(len(mine)):
        assert mine.title(row) == theirs.title(row) and mine.picture(row) == theirs.picture(row) != b""
    one, other = (np.load(folder / "index" / "vectors.npy") for folder in (made_dir, tmp_path / "whole"))
    np.testing.assert_allclose(one, other, atol=1e-5)  # batches differ, and so the last bits
    settings = read_settings(made_dir)
    for view, centroid in whole.centroids.items():
        np.testing.assert_allclose(settings.centroids[view], centroid, atol=1e-5)

    again = {"params": params, "regions_params": RegionsParams(), "out": tmp_path / "other"}
    with pytest.raises(ValueError, match="got the shares 1/3, 2/3; expected each of 1/n to n/n once"):
        index.run(catalog=tiny_catalog, parts=parts[:2], **again)


def test_more_shares_than_products_leave_some_empty(
    tiny_model: Path, tiny_catalog: Path, tiny_regions: Path, tmp_path: Path
) -> None:
    given = {"catalog": tiny_catalog, "regions": tiny_regions, "params": ServingParams(thumbnail_pixels=0)}
    made = embed.run(model=tiny_model, **given, out=tmp_path / "part", shard="1/1000")
    assert made.products == 0
    from moon.serving.shares import read_batches, read_queries

    assert sum(len(batch.products) for batch in read_batches([tmp_path / "part"], {})) == 0
    assert sum(map(len, read_queries([tmp_path / "part"]).values())) == made.queries
