from __future__ import annotations

import typing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moon.config import ServingParams
from moon.config.fields import OneOf
from moon.items import ItemSource
from moon.model import Embedder, Item
from moon.model.moe import MixtureOfExperts
from moon.retrieval.index import ExactIndex
from moon.serving import precision
from moon.serving.precision import PRECISIONS, Int8Linear


@pytest.fixture(scope="module")
def items(tiny_catalog: Path, tiny_regions: Path) -> list[Item]:
    """Products with pictures, and texts of very different lengths."""
    source = ItemSource(tiny_catalog, tiny_regions)
    products = [source.product(product_id) for product_id in sorted(source.products)[:12]]
    return [*products, *(Item(title="red mug " * words) for words in (1, 3, 40))]


def changed(model: Path, kind: str) -> Embedder:
    embedder = Embedder.load(model)
    precision.apply(embedder, kind)
    return embedder


@pytest.mark.parametrize("kind", PRECISIONS)
def test_every_precision_gives_unit_vectors_near_those_in_float32(
    kind: str, tiny_model: Path, items: list[Item]
) -> None:
    wanted = Embedder.load(tiny_model).embed(items)
    vectors = changed(tiny_model, kind).embed(items)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors * wanted).sum(1).min() > 0.995
    if kind == "fp32":
        np.testing.assert_array_equal(vectors, wanted)
    else:
        assert np.abs(vectors - wanted).max() > 1e-6, "nothing was changed"


def test_an_int8_vector_does_not_depend_on_its_batch(tiny_model: Path, items: list[Item]) -> None:
    embedder = changed(tiny_model, "int8")
    together = embedder.embed(items)
    alone = np.concatenate([embedder.embed([item]) for item in items])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_int8_takes_the_linear_layers_but_not_the_routers(tiny_model: Path) -> None:
    model = changed(tiny_model, "int8").model
    left = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    routers = {f"{name}.router" for name, module in model.named_modules() if isinstance(module, MixtureOfExperts)}
    assert routers and left == routers
    assert sum(isinstance(module, Int8Linear) for module in model.modules()) >= 10


def test_bf16_halves_the_weights(tiny_model: Path) -> None:
    def size(embedder: Embedder) -> int:
        return sum(one.numel() * one.element_size() for one in embedder.model.parameters())

    assert size(changed(tiny_model, "bf16")) * 2 == size(Embedder.load(tiny_model))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9),
    inputs=st.sampled_from([32, 33, 96]),
    outputs=st.sampled_from([32, 40]),
    exponent=st.integers(-6, 6),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_an_int8_layer_is_off_by_no_more_than_rounding(
    rows: int, inputs: int, outputs: int, exponent: int, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    linear = nn.Linear(inputs, outputs, bias=bias)
    x = torch.randn(2, rows, inputs) * 10.0**exponent
    x[0, 0] = 0
    with torch.inference_mode():
        got, wanted = Int8Linear(linear)(x), linear(x)
        # Half a level of each factor, times the other factor, over the sum.
        levels_x, levels_w = (one.abs().amax(-1) / 127 for one in (x, linear.weight))
        error = (levels_x[..., None] * linear.weight.abs().sum(1) + x.abs().sum(-1)[..., None] * levels_w) / 2
        error += inputs * levels_x[..., None] * levels_w / 4
    assert got.shape == wanted.shape
    assert ((got - wanted).abs() <= error * 1.01 + 1e-6 * wanted.abs().amax() + 1e-9).all()
    assert torch.equal(got[0, 0], wanted[0, 0]), "a row of zeros gives the bias"


def test_int8_is_refused_off_the_cpu_and_so_is_an_unknown_precision(tiny_model: Path) -> None:
    embedder = Embedder.load(tiny_model)
    with pytest.raises(ValueError, match="one of fp32, bf16, int8, got 'int4'"):
        precision.apply(embedder, "int4")
    embedder.device = "cuda"
    with pytest.raises(ValueError, match="on the CPU, the model is on cuda; use bf16"):
        precision.apply(embedder, "int8")
    assert not any(isinstance(module, Int8Linear) for module in embedder.model.modules())


def test_the_parameter_names_the_same_precisions() -> None:
    hint = typing.get_type_hints(ServingParams, include_extras=True)["precision"]
    assert hint.__metadata__ == (OneOf(*PRECISIONS),)


def test_recall_loss_compares_results_on_one_index(tiny_model: Path, items: list[Item]) -> None:
    reference, products = Embedder.load(tiny_model), items[:12]
    ids = [str(row) for row in range(12)]
    index = ExactIndex(ids, reference.embed(products))
    own = [{one} for one in ids]
    same = precision.recall_loss(reference, reference, products, own, index, k=1)
    assert (same.recall, same.changed, same.loss, same.kept) == (1.0, 1.0, 0.0, 1.0)
    assert same.cosine == pytest.approx(1)

    noise = changed(tiny_model, "int8")
    for layer in (module for module in noise.model.modules() if isinstance(module, Int8Linear)):
        layer.weight_IO.random_(-127, 128)
        layer.scale_O.mul_(100)
    broken = precision.recall_loss(reference, noise, products, own, index, k=1)
    assert broken.recall == 1.0
    assert broken.loss == pytest.approx(1 - broken.kept) and broken.loss > 0.5
    assert broken.cosine < 0.9


def test_recall_loss_refuses_what_it_cannot_measure(tiny_model: Path) -> None:
    embedder = Embedder.load(tiny_model)
    index = ExactIndex(["a"], embedder.embed([Item(title="mug")]))
    with pytest.raises(ValueError, match="each query needs its positives, got 1 queries and 0 sets"):
        precision.recall_loss(embedder, embedder, [Item(title="mug")], [set()], index, k=1)
    with pytest.raises(ValueError, match="needs an index of 10 products or more, got 1"):
        precision.recall_loss(embedder, embedder, [Item(title="mug")], [{"a"}], index)
