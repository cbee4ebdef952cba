"""The typed parameters of every step; ``params.yaml`` is their one file.

A section of the file is one frozen dataclass here. Nothing else in the project holds a default, so reading this
module and ``params.yaml`` tells everything that can be set.

    params = load_params(Path("params.yaml"), overrides=["training.steps=50"])
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml

T = TypeVar("T")


class ParamsError(ValueError):
    """A parameter is unknown or has a value it cannot have; the message names it and what was expected."""


@dataclass(frozen=True)
class Limits:
    """What a number may be, as the mark of a field: ``steps: Annotated[int, Limits(1)]``.

    On a tuple it holds for every number in it, and there must be one.
    """

    low: float
    high: float = math.inf
    open: bool = False
    """The limits themselves are excluded."""

    def check(self, name: str, value: Any) -> None:
        """Refuses a value outside the limits.

        Raises:
            ParamsError: it is outside, or not a finite number.
        """
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers:
            raise ParamsError(f"{name} must hold at least one number, got none")
        for number in numbers:
            if isinstance(number, float) and not math.isfinite(number):
                raise ParamsError(f"{name} must be a finite number, got {number}")
            if not (self.low < number < self.high if self.open else self.low <= number <= self.high):
                raise ParamsError(f"{name} must be {self}, got {number}")

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'more than' if self.open else 'at least'} {self.low}"
        return f"{'between' if self.open else 'from'} {self.low} {'and' if self.open else 'to'} {self.high}"


Count = Annotated[int, Limits(1)]
Natural = Annotated[int, Limits(0)]
Seed = Annotated[int, Limits(0, 2**63 - 1)]
Share = Annotated[float, Limits(0, 1)]
Positive = Annotated[float, Limits(0, open=True)]
NotNegative = Annotated[float, Limits(0)]
Port = Annotated[int, Limits(0, 65_535)]
Pixels = Annotated[int, Limits(28 * 28)]
"""At least one merged patch of Qwen2.5-VL."""


class Section:
    """The parameters of one step; a value outside the `Limits` of its field is refused however it came there."""

    def __post_init__(self) -> None:
        section = type(self).__name__.removesuffix("Params").lower()
        for name, hint in typing.get_type_hints(type(self), include_extras=True).items():
            for limits in getattr(hint, "__metadata__", ()):
                limits.check(f"{section}.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class CatalogParams(Section):
    """Where the catalogue comes from and what a row must satisfy to enter it."""

    source: str = "render"
    """``render``, ``grocery-store:DIR``, ``table:FILE`` or the folder of a finished catalogue."""
    images: str = ""
    """Folder that relative image paths of a ``table:`` source start from; empty: the file's own folder."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column mapping of a ``table:`` source: our field -> their column."""
    max_image_pixels: Annotated[int, Limits(1, 40_000_000)] = 40_000_000
    """A picture whose header says more pixels than this is rejected before it is decoded; later steps decode no more
    than the highest value."""
    shard_rows: Count = 1024
    """Rows in one Parquet shard."""


@dataclass(frozen=True, kw_only=True)
class RenderParams(Section):
    """The rendered catalogue: product pictures drawn with Pillow and a purchase log."""

    seed: Seed = 7
    products: Annotated[int, Limits(1, 10_000_000)] = 320
    interactions: Annotated[int, Limits(0, 1_000_000_000)] = 4096
    image_size: Annotated[int, Limits(32, 2048)] = 192
    """Longer side of a rendered picture, pixels."""
    query_photos: Annotated[int, Limits(1, 1000)] = 12
    """Most query photos taken of one product; purchases beyond them share photos."""
    held_out: Annotated[float, Limits(0, 0.6)] = 0.3
    """Share of products, and with them their interactions, kept for the test split; half as many go to val."""


@dataclass(frozen=True, kw_only=True)
class ValidationParams(Section):
    """Thresholds of the Great Expectations suites: shares above ``fail`` stop the run, above ``warn`` warn."""

    fail_rejected_share: Share = 0.2
    warn_rejected_share: Share = 0.01
    fail_unexpected_share: Share = 0.05
    """Share of rows that may break one expectation before the run stops."""
    min_products: Natural = 8
    min_interactions: Natural = 16


@dataclass(frozen=True, kw_only=True)
class RegionsParams(Section):
    """Core-region detection: the box of the thing being sold."""

    detector: str = "auto"
    """``auto`` (backdrop where the border is uniform, else saliency), ``backdrop``, ``saliency`` or ``full``."""
    pad: NotNegative = 0.05
    """The box is grown by this share of its side on every side."""
    min_area: Share = 0.02
    max_area: Share = 0.98
    """A box outside this share of the picture's area falls back to the whole picture."""
    min_score: NotNegative = 0.2
    """A detection with a lower confidence falls back to the whole picture."""


@dataclass(frozen=True, kw_only=True)
class ModelParams(Section):
    """The embedder. ``base`` empty builds the tiny random configuration and trains a tokenizer on the catalogue."""

    base: str = ""
    """Folder or hub name of a MOON checkpoint or a Qwen2.5-VL checkpoint to start from."""
    seed: Seed = 0
    vocab_size: Count = 1536
    hidden_size: Count = 96
    intermediate_size: Count = 192
    layers: Count = 2
    heads: Count = 4
    vision_hidden_size: Count = 96
    vision_layers: Count = 2
    general_experts: Count = 4
    experts_per_token: Count = 2
    moe_layers: tuple[int, ...] = (-1,)
    """Decoder layers whose feed-forward becomes a guided mixture of experts; negative counts from the last."""
    image_pixels: Pixels = 3_136
    """Pixel budget of one original picture (56 x 56: the surroundings)."""
    crop_pixels: Pixels = 7_056
    """Pixel budget of one core crop (84 x 84: the product itself)."""
    max_images: Count = 2
    """Pictures of a product that enter its sequence."""
    max_text_tokens: Count = 96

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vision_hidden_size % (4 * self.heads):  # rotary positions turn pairs of rows and of columns
            raise ParamsError(
                f"model.vision_hidden_size must be a multiple of {4 * self.heads} with {self.heads} heads, "
                f"got {self.vision_hidden_size}"
            )


@dataclass(frozen=True, kw_only=True)
class MiningParams(Section):
    """Hard negatives from the same category by vector similarity."""

    negatives: Natural = 4
    category_level: Natural = 3
    """Candidates share this many leading levels of the category path with the bought product."""
    skip_top: Natural = 0
    """Nearest candidates to pass over, a guard against unlabelled positives."""
    max_similarity: Annotated[float, Limits(-1, 1)] = 1.0
    """A candidate more similar to the query than this is taken for a false negative and rejected."""
    chunk_rows: Count = 4096
    """Queries searched at a time; bounds memory."""


@dataclass(frozen=True, kw_only=True)
class TrainingParams(Section):
    """Contrastive training: InfoNCE over purchases."""

    seed: Seed = 0
    steps: Count = 320
    batch_size: Count = 48
    learning_rate: Positive = 3e-3
    weight_decay: NotNegative = 0.01
    warmup_steps: Natural = 20
    max_grad_norm: Positive = 1.0
    temperature: Positive = 0.05
    balance_weight: NotNegative = 0.01
    """Weight of the experts' load-balance loss."""
    hard_negatives: Natural = 1
    """Mined negatives of each query that enter the loss."""
    checkpoint_every: Count = 100
    log_every: Count = 5
    cache_mb: Natural = 512
    """Memory for decoded and resized pictures, so that a small catalogue is decoded once."""
    threads: Natural = 0
    """CPU threads; 0 leaves torch's choice."""


@dataclass(frozen=True, kw_only=True)
class EvaluationParams(Section):
    """Retrieval in five directions and zero-shot label prediction."""

    seed: Seed = 0
    split: str = "auto"
    """Split of the interactions to evaluate; ``auto`` is test where there is one, else val."""
    gallery: str = "auto"
    """``held_out`` (products of the split), ``all``, or ``auto``: held_out where every purchase lies in it."""
    ks: Annotated[tuple[int, ...], Limits(1)] = (1, 5, 10)
    bootstrap_samples: Count = 1000
    confidence: Annotated[float, Limits(0, 1, open=True)] = 0.95
    examples: Natural = 8
    """Queries shown with their top 5 in the report."""
    max_queries: Count = 2000
    """Queries evaluated in each direction, a seeded sample where there are more."""


@dataclass(frozen=True, kw_only=True)
class GateParams(Section):
    """What a model must reach to be registered."""

    min_image_r1_over_chance: NotNegative = 8.0
    """Image -> product R@1 as a multiple of chance."""
    beat_untrained: bool = True
    """The R@10 interval of each of ``directions`` must lie above the untrained model's."""
    directions: tuple[str, ...] = ("text->product", "image->product", "both->product")
    min_queries: Count = 30
    """A direction with fewer queries is reported and decides nothing: its interval is too wide to judge by."""


@dataclass(frozen=True, kw_only=True)
class ServingParams(Section):
    """The KServe model server and its limits."""

    model_name: str = "moon"
    host: str = "127.0.0.1"
    """Address at which clients reach a local deployment; KServe itself listens on every interface."""
    http_port: Port = 0
    """0 takes a free port (local deployment only)."""
    grpc_port: Port = 0
    max_body_bytes: Count = 64_000_000
    """Size of one request body, also of one gRPC message."""
    max_request_items: Count = 64
    """Texts and photos in one request."""
    max_image_bytes: Count = 10_000_000
    max_image_pixels: Count = 40_000_000
    max_text_chars: Count = 8192
    max_top_k: Count = 100
    max_batch_items: Count = 32
    """Items of one forward pass."""
    batch_delay_ms: NotNegative = 5.0
    """Longest wait for further requests that are still being decoded."""
    max_pending_items: Count = 256
    """Items accepted and not yet answered; beyond it the server says 429."""
    decode_threads: Count = 2
    """Pictures decoded at once, which bounds the memory of decoded pixels."""
    threads: Count = 1
    """CPU threads of a forward pass; more pay off only for a large model on cores that nobody else uses."""
    grace_seconds: Natural = 5
    """Time for running requests to finish after SIGTERM."""
    startup_seconds: Positive = 120.0
    image: str = "ghcr.io/moon-product-search/moon-python:0.1.0"
    """Container image of the cluster form."""
    namespace: str = "moon"
    storage_uri: str = ""
    """Model storage of the cluster form, such as ``s3://bucket/model``; empty: the local checkpoint."""


@dataclass(frozen=True, kw_only=True)
class DriftParams(Section):
    """Windows of traffic and the test that compares them."""

    seed: Seed = 0
    window: Count = 300
    """Requests in one window."""
    shift: str = "dark-photos"
    """What the second replayed window changes: ``dark-photos`` or ``new-categories``."""
    alpha: Annotated[float, Limits(0, 1, open=True)] = 0.05
    """False-alarm rate of one decision over all of a window's tests."""
    permutations: Count = 999
    """Shuffles behind every p-value; the smallest one that can be had is 1 / (permutations + 1)."""
    retrain_auc: Share = 0.65
    """Embeddings that drifted ask for training where a classifier tells the windows apart with this AUC."""
    min_rows: Annotated[int, Limits(2)] = 50
    """A window with fewer rows is not tested."""
    evidently_rows: Count = 200
    """Rows in the Evidently report; its plots grow faster than the rows."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """All parameters, one section a step."""

    catalog: CatalogParams = field(default_factory=CatalogParams)
    render: RenderParams = field(default_factory=RenderParams)
    validation: ValidationParams = field(default_factory=ValidationParams)
    regions: RegionsParams = field(default_factory=RegionsParams)
    model: ModelParams = field(default_factory=ModelParams)
    mining: MiningParams = field(default_factory=MiningParams)
    training: TrainingParams = field(default_factory=TrainingParams)
    evaluation: EvaluationParams = field(default_factory=EvaluationParams)
    gate: GateParams = field(default_factory=GateParams)
    serving: ServingParams = field(default_factory=ServingParams)
    drift: DriftParams = field(default_factory=DriftParams)


def load_params(path: Path | None = None, overrides: Iterable[str] = ()) -> Params:
    """Reads ``params.yaml`` (defaults where ``path`` is None) and applies ``a.b=c`` overrides.

    Raises:
        ParamsError: the file is not readable YAML, a key is unknown, or a value has the wrong type or is out of range.
    """
    text = ""
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ParamsError(f"cannot read the parameter file {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ParamsError(f"the parameter file {path} is not UTF-8 text") from None
    return parse_params(text, overrides, where=str(path) if path else "parameters")


def parse_params(text: str, overrides: Iterable[str] = (), where: str = "parameters") -> Params:
    """Parses the YAML text of a parameter file; see `load_params`."""
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ParamsError(f"{where} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{where} must hold sections such as 'training:', got {type(tree).__name__}")
    for override in overrides:
        _set(tree, override)
    return from_dict(Params, tree, where)


def from_dict(cls: type[T], tree: Mapping[str, Any], where: str = "parameters") -> T:
    """Builds a parameter dataclass from plain data, refusing unknown keys, wrong types and values by name."""
    hints = typing.get_type_hints(cls)
    for key in tree:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.0)
            raise ParamsError(f"unknown parameter '{key}' in {where}; the nearest known one is '{near[0]}'")
    return cls(**{key: _convert(value, hints[key], f"{where}: {key}") for key, value in tree.items()})


def to_dict(params: Any) -> dict[str, Any]:
    """A parameter dataclass as plain data that JSON and YAML hold; `from_dict` turns it back."""
    return typing.cast("dict[str, Any]", json.loads(json.dumps(dataclasses.asdict(params))))


def to_json(params: Any) -> str:
    """A section as one canonical JSON line, the form in which it travels between steps."""
    return json.dumps(to_dict(params), sort_keys=True)


def from_json(cls: type[T], text: str) -> T:
    """The inverse of `to_json`."""
    return from_dict(cls, json.loads(text), cls.__name__)


def _set(tree: dict[str, Any], override: str) -> None:
    """Applies one ``a.b=c``; the value is read as YAML, so numbers, booleans and lists work."""
    path, separator, value = override.partition("=")
    if not separator or not path.strip():
        raise ParamsError(f"an override is written section.key=value, got '{override}'")
    *parents, last = path.strip().split(".", 2)  # a name inside a mapping may hold dots
    for name in parents:
        child = tree.setdefault(name, {})
        if not isinstance(child, dict):
            raise ParamsError(f"'{override}': '{name}' is a value, not a section")
        tree = child
    try:
        tree[last] = yaml.safe_load(value) if value else ""
    except yaml.YAMLError:
        tree[last] = value


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Checks ``value`` against a type hint; an int is taken for a float and a list for a tuple."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ParamsError(f"{where} must be a section, got {value!r}")
        return from_dict(typing.cast("type[Any]", hint), value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(item, args[0], where) for item in value)
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return {str(k): _convert(v, args[1], f"{where}.{k}") for k, v in value.items()}
    if origin is types.UnionType:
        return None if value is None else _convert(value, args[0], where)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    expected = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise ParamsError(f"{where} must be {expected}, got {value!r}")
