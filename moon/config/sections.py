"""The sections of ``params.yaml`` and every default; `Params` is all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from moon.config.collecting import CollectorParams
from moon.config.drifting import DriftParams
from moon.config.fields import (
    Count,
    Limits,
    Natural,
    NotNegative,
    OneOf,
    ParamsError,
    Pixels,
    Port,
    Positive,
    Section,
    Seed,
    Share,
)
from moon.config.launching import LaunchParams
from moon.config.rollout import PipelineParams


@dataclass(frozen=True, kw_only=True)
class CatalogParams(Section):
    """Where the catalogue comes from and what a row must satisfy to enter it."""

    source: str = "render"
    """``render``, ``KIND:PLACE`` with a kind of ``moon import``, or the folder of a finished catalogue."""
    images: str = ""
    """Folder that relative image paths of a ``table:`` source start from; empty: the file's own folder."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column mapping of a ``table:`` or ``hf:`` source: our field -> their column."""
    max_image_pixels: Annotated[int, Limits(1, 40_000_000)] = 40_000_000
    """A picture whose header says more pixels than this is rejected before it is decoded; later steps decode no more
    than the highest value."""
    max_image_bytes: Count = 64 * 1024 * 1024
    """A larger picture file is not read; a fetch ends when it has brought more."""
    shard_rows: Count = 1024
    """Rows in one Parquet shard."""
    fetch_workers: Count = 16
    """Pictures fetched at once where a source names them by URL."""
    fetch_timeout: Positive = 20.0
    """Seconds for one attempt to fetch a picture."""
    fetch_retries: Natural = 3
    """Further attempts after a time-out, a broken connection or an answer that asks to come again."""
    allow_private_hosts: bool = False
    """Fetches from loopback, private and link-local addresses too; for a source that you trust, such as an intranet's.
    """
    resume: bool = True
    """Goes on where an import of the same source into the same folder was stopped."""


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
    """Share of rows that may break one expectation before the run stops; below it warns."""
    warn_unexpected_share: Share = 0.001
    """Share of rows with a blemish that is not worth a warning."""
    warn_leak_share: Share = 0.01
    """Share of rows that splits may have in common, or that may be copies, without a warning."""
    min_products: Natural = 8
    min_interactions: Natural = 16
    max_title_chars: Count = 300
    max_query_chars: Count = 300
    max_category_levels: Count = 8
    max_lonely_share: Share = 0.5
    """Share of products that may be alone in their category."""
    min_key_coverage: Share = 0.05
    """Share of the products that an attribute key should be on."""
    max_single_values: Share = 0.5
    """Share of an attribute key's values that may occur on one product only; judged from 100 products with the key."""
    max_value_chars: Count = 80
    """Longest attribute value."""
    min_image_side: Count = 32
    """Shorter side of a picture, pixels."""
    max_aspect: Annotated[float, Limits(1)] = 5.0
    """Longer side of a picture over its shorter side."""
    sample_pictures: Natural = 64
    """Pictures that are decoded and compared with what the table says; 0 reads no pixels."""
    events: tuple[str, ...] = ("purchase", "exact", "listed", "other_view", "review_photo", "same_product")
    """Events that say a product was wanted, for every row is learned as if bought; these are the readers' own."""
    max_product_share: Share = 0.1
    """Share of all purchases that one product may take, unless the catalogue is so small that it is below ten times an
    even share."""
    max_query_products: Count = 100
    """Different products that one query may end with."""
    max_unbought_share: Share = 0.5
    """Share of the products that may be without a purchase."""
    max_repeats_per_minute: Count = 30
    """Rows of one query and product within a minute."""
    max_burst: Annotated[float, Limits(1)] = 50.0
    """Rows of a minute over those of the median minute with traffic; a minute under 100 rows is no burst."""


@dataclass(frozen=True, kw_only=True)
class DuplicatesParams(Section):
    """Near-duplicate products, and near-duplicates across splits."""

    max_bits: Annotated[int, Limits(0, 8)] = 8
    """Pictures whose perceptual hashes differ in more of their 64 bits are not compared further."""
    max_difference: Annotated[float, Limits(0, 255)] = 12.0
    """Largest root mean square difference of two pictures of one thing where they differ most, in levels of 255, once
    they are laid over each other."""
    title_similarity: Share = 0.9
    """Least Jaccard index of two titles' letter triples; 1 takes equal titles only, 0 leaves titles out."""
    stock_products: Count = 20
    """A picture that more products show is a size chart or the like and says nothing about them."""


@dataclass(frozen=True, kw_only=True)
class RegionsParams(Section):
    """Core-region detection: the box of the thing being sold."""

    detector: str = "auto"
    """``auto`` (backdrop where the border is uniform, else learned where ``weights`` names its file, else saliency),
    ``backdrop``, ``saliency``, ``grabcut`` (auto's box, refined) or ``full``; with ``weights``: ``learned``, ``onnx``,
    ``grounding`` (Qwen-VL asked for the title) or ``zero_shot`` (OWLv2 or Grounding DINO)."""
    weights: str = ""
    """The detector's file, or its checkpoint folder: of `moon regions train`, ``.onnx``, or of `transformers`."""
    batch: Count = 8
    """Pictures that a detector with a large model sees at once."""
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
    """Folder or hub name of a MOON, Qwen2.5-VL or Qwen3-VL checkpoint to start from, or a ``config.json`` of one."""
    backbone: Annotated[str, OneOf("qwen2_5_vl", "qwen3_vl")] = "qwen2_5_vl"
    """Family of the tiny configuration: ``qwen2_5_vl`` or ``qwen3_vl``."""
    fusion: Annotated[str, OneOf("early", "late")] = "early"
    """``early``: pictures and text are one sequence (MOON); ``late``: two towers whose embeddings are added (CLIP)."""
    pooling: Annotated[str, OneOf("tokens", "modalities")] = "modalities"
    """``tokens``: the embedding is the mean over all tokens (MOON); ``modalities``: pictures and text count alike
    [R]."""
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
    """Decoder layers whose feed-forward becomes a mixture of experts; negative counts from the last, none is dense."""
    routing: Annotated[str, OneOf("guided", "soft", "free", "modality")] = "guided"
    """``guided`` (MOON: rules for category and attribute tokens), ``soft`` (a bias instead of the rule), ``free`` (no
    guidance) or ``modality`` (MOON2.0: free, with an expert-by-objective matrix)."""
    guidance_bias: NotNegative = 4.0
    """Logit that soft guidance adds to the expert of a category or attribute token."""
    image_pixels: Pixels = 3_136
    """Pixel budget of one original picture (56 x 56: the surroundings)."""
    crop_pixels: Natural = 7_056
    """Pixel budget of one core crop (84 x 84: the product itself); 0 leaves the crops out."""
    max_images: Count = 2
    """Pictures of a product that enter its sequence."""
    resize: Annotated[str, OneOf("fast", "parity")] = "parity"
    """How pictures come to their budget: ``parity``, bit by bit as Qwen-VL's own processor does, which pretrained
    weights expect; or ``fast``, scaled decoding and means over areas, several times as quick on large JPEG."""
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

    seed: Seed = 0
    negatives: Natural = 4
    category_level: Natural = 3
    """Candidates share this many leading levels of the category path with the bought product; 0 mines the whole
    catalogue."""
    skip_top: Natural = 0
    """Nearest candidates to pass over, a guard against unlabelled positives."""
    max_rank: Natural = 0
    """Last rank, after exclusions, that is still used; 0 sets no end."""
    sampling: Annotated[str, OneOf("top", "random", "semi_hard")] = "top"
    """``top``: the nearest; ``random``: drawn from the ``pool`` nearest; ``semi_hard``: drawn from those of them that
    score below the bought product."""
    pool: Count = 40
    """Nearest candidates of a query that sampling draws from and that the rejection rate is measured on."""
    max_similarity: Annotated[float, Limits(-1, 1)] = 1.0
    """A candidate more similar to the query than this is taken for a false negative and rejected."""
    positive_aware: Annotated[str, OneOf("off", "margin", "calibrated")] = "off"
    """Rejects candidates near to or above the bought product's score: ``margin`` below
    ``positive - relative_margin * |positive|``; ``calibrated`` chooses that margin for ``rejection_rate``."""
    relative_margin: Annotated[float, Limits(-100, 100)] = 0.05
    """0.05 keeps what scores at most 95 % of the bought product (NV-Retriever, TopK-PercPos)."""
    rejection_rate: Annotated[float, Limits(0, 1, open=True)] = 0.1
    """Share of the pools' candidates that the calibrated margin rejects."""
    sku_attribute: str = ""
    """Attribute whose equal values mean the same product, such as ``sku``; empty: none."""
    relabel: Natural = 1000
    """Rejected candidates kept for a person to look through, the most suspicious first."""
    index: Annotated[str, OneOf("auto", "exact", "approximate")] = "auto"
    """``auto`` is exact up to ``exact_rows`` products in a category, approximate above."""
    exact_rows: Count = 250_000
    recall: Annotated[float, Limits(0, 1)] = 0.99
    """Recall that an approximate index is tuned to, on a sample of the queries."""
    chunk_rows: Count = 8192
    """Queries searched at a time; bounds memory."""


@dataclass(frozen=True, kw_only=True)
class AugmentParams(Section):
    """Image-text co-augmentation of the training products (MOON2.0); offline, the test split is never touched."""

    seed: Seed = 0
    copies: Natural = 0
    """Augmented pictures asked for of each product picture; 0 leaves the catalogue as it is."""
    edits: tuple[str, ...] = ("clean", "background", "lighting", "perspective")
    """What the editor is asked for, in turn."""
    editor: str = "pillow"
    """``pillow``, or ``module:attribute`` of an editor of your own (see `moon.vision.augment.Editor`)."""
    min_similarity: Annotated[float, Limits(-1, 1)] = 0.5
    """An edited picture whose embedding is less similar than this to the original's is left out."""
    enrich_titles: bool = True
    """Adds to each training title what the known attributes say and the title does not."""


@dataclass(frozen=True, kw_only=True)
class ObjectivesParams(Section):
    """What training minimises: InfoNCE over purchases and the terms around it."""

    temperature: Positive = 0.05
    learn_temperature: bool = False
    query_views: Annotated[str, OneOf("as_asked", "all")] = "all"
    """``as_asked`` (MOON), or ``all``: a query of both is also asked by its text and by its photo (MOON2.0)."""
    in_batch: bool = True
    """The other products of the batch are negatives."""
    hard_negatives: Natural = 1
    """Mined negatives of each query that enter the loss."""
    memory_batches: Natural = 0
    """Batches whose products stay in the memory bank as negatives (MOON, temporal)."""
    memory_warmup: Natural = 50
    """Steps before the memory bank is used; early embeddings move too fast."""
    cross_rank: bool = True
    """The products of the other processes are negatives too (MOON, spatial)."""
    symmetric: bool = True
    """Also asks each product for its query."""
    matryoshka: Annotated[tuple[int, ...], Limits(0)] = (0,)
    """Prefix lengths of the embedding that are trained, each with equal weight; 0 is the whole embedding."""
    intra_weight: NotNegative = 0.0
    """Weight of the alignment of a product's picture with its text (MOON2.0, intra-product)."""
    intra_temperature: Positive = 0.05
    weighting: Annotated[str, OneOf("by_count", "equal", "learned")] = "by_count"
    """Weights of the objectives: ``by_count``, every query entry counts alike; ``equal``, every objective does; or
    ``learned`` by the modality-driven experts (MOON2.0, omega)."""
    filter_threshold: Share = 0.0
    """Dynamic sample filtering (MOON2.0; 0.6 there): a query with a lower phi is down-weighted; 0 filters nothing."""
    filter_kappa: Positive = 10.0
    filter_margin: NotNegative = 0.2
    """Margin at the first step; falls to 0 by a cosine."""
    balance_weight: NotNegative = 0.01
    """Weight of the experts' load-balance loss."""
    sparsity_weight: NotNegative = 0.01
    """Weight of the entropy of the expert-by-objective matrix (MOON2.0)."""


@dataclass(frozen=True, kw_only=True)
class TrainingParams(Section):
    """The training engine."""

    seed: Seed = 0
    steps: Count = 320
    batch_size: Count = 48
    """Purchases in a batch, over all processes."""
    accumulate: Count = 1
    """Batches whose gradients are added up before an optimiser step."""
    token_budget: Count = 32768
    """Tokens with padding, and patches of pictures, whose activations are in memory at a time, whatever the batch."""
    modality_mix: tuple[int, ...] = ()
    """Shares of image, text and both queries in a batch, such as [12, 3, 2] (MOON); empty: as they come."""
    category_batches: Share = 0.0
    """Share of the batches that are drawn from one branch of the category tree."""
    learning_rate: Positive = 3e-3
    weight_decay: NotNegative = 0.01
    warmup_steps: Natural = 20
    max_grad_norm: Positive = 1.0
    precision: Annotated[str, OneOf("fp32", "bf16")] = "fp32"
    """``fp32`` or ``bf16`` (automatic mixed precision; the optimiser keeps fp32)."""
    freeze_vision: bool = False
    checkpoint_activations: bool = False
    """Computes activations a second time in the backward pass instead of keeping them."""
    lora_rank: Natural = 0
    """Rank of the LoRA deltas on attention and experts; 0 trains every weight."""
    lora_alpha: Positive = 32.0
    processes: Count = 1
    """Processes on this machine, joined by torch.distributed; under torchrun or a TrainJob its own number holds."""
    zero_stage: Annotated[int, Limits(0, 3)] = 0
    """DeepSpeed ZeRO stage; 0 keeps the optimiser on every process, without DeepSpeed."""
    checkpoint_every: Count = 100
    log_every: Count = 5
    mlflow_uri: str = ""
    """MLflow tracking server or folder that gets the metrics too; needs the extra ``mlflow``."""
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
    probe_items: Natural = 500
    """Train products, and train photos, that linear probes are fitted on: seeded samples; 0 leaves the probes out."""


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
    max_pending_bytes: Count = 512_000_000
    """Size of all HTTP bodies held at once, half of it for those of over a MiB; beyond it the server says 429."""
    max_connections: Count = 4096
    """HTTP connections open at once; one more takes the place of the one that has been idle longest."""
    max_request_items: Count = 64
    """Texts and photos in one request."""
    max_image_bytes: Count = 10_000_000
    max_image_pixels: Count = 40_000_000
    image_urls: Annotated[str, OneOf("never", "public", "any")] = "never"
    """Whether the server fetches pictures by http(s) URL: not at all, from public addresses, or from private ones too.
    """
    image_url_seconds: Positive = 5.0
    """Time for one picture to be fetched."""
    image_url_fetches: Count = 8
    """Pictures fetched at once."""
    header_seconds: Positive = 10.0
    """Time for the headers of a request to arrive before its connection is closed."""
    body_seconds: Positive = 30.0
    """Time for the body of a request to arrive; then 408."""
    max_text_chars: Count = 8192
    max_top_k: Count = 100
    index: Annotated[str, OneOf("auto", "exact", "approximate")] = "auto"
    """How products are searched; ``auto`` is exact up to ``exact_products``, approximate above."""
    exact_products: Count = 10_000
    index_recall: Share = 0.98
    """Recall@``max_top_k`` against exact search that an approximate index is tuned to."""
    index_poll_seconds: NotNegative = 2.0
    """How often the server looks for a new search artefact; 0 never does."""
    thumbnail_pixels: Natural = 320
    """Longest side of the product pictures in the search artefact; 0 keeps none."""
    max_batch_items: Count = 32
    """Items of one forward pass."""
    max_batch_tokens: Count = 16_384
    """Tokens of one forward pass, padding included; a longer item is computed alone."""
    max_padding: Share = 0.5
    """Most of a forward pass that may be padding; items that differ more in length are computed apart."""
    batch_delay_ms: NotNegative = 40.0
    """Longest wait for further requests that are still being decoded."""
    max_pending_items: Count = 256
    """Items accepted and not yet answered; beyond it the server says 429."""
    max_seconds: Positive = 30.0
    """Longest that a request may take; its sender may ask for less (``x-request-timeout-ms``)."""
    decode_processes: Count = 2
    """Processes that decode pictures, one at a time each, which bounds the memory of decoded pixels."""
    decode_seconds: Positive = 10.0
    """Longest that one picture may take to decode; the process that does not finish is replaced."""
    cache_mb: Natural = 64
    """Memory for the answers to recent texts and photos; 0 keeps none."""
    precision: Annotated[str, OneOf("fp32", "bf16", "int8")] = "fp32"
    """Number format of the forward pass; ``int8`` quantises linear layers as they run, on the CPU."""
    threads: Count = 1
    """CPU threads of a forward pass; more pay off only for a large model on cores that nobody else uses."""
    liveness_seconds: Positive = 30.0
    """The server says that it is not alive when a forward pass takes longer than this."""
    drain_seconds: NotNegative = 1.0
    """Time after SIGTERM in which the server says that it is not ready, before it closes its ports."""
    grace_seconds: Natural = 5
    """Time for running requests to finish after that."""
    startup_seconds: Positive = 120.0
    image: str = "ghcr.io/moon-product-search/moon-serve:0.1.0"
    """Container image of the cluster form."""
    namespace: str = "moon"
    storage_uri: str = ""
    """Model storage of the cluster form, such as ``s3://bucket/moon/{version}``; empty: the local checkpoint."""
    artefact_claim: str = ""
    """PersistentVolumeClaim with the search artefacts, one folder a version, or a folder in one (``claim/folder``);
    empty: the cluster form only embeds."""
    logger_url: str = ""
    """Where KServe sends a copy of every request and answer of the cluster form; empty: nowhere."""
    min_replicas: Count = 1
    """Pods of the cluster form that always run."""
    max_replicas: Count = 3
    """Pods of the cluster form under load."""
    priority_class: str = ""
    """PriorityClass of its pods, such as ``moon-serving``; empty: the cluster's default."""
    canary_percent: Annotated[int, Limits(1, 100)] = 10
    """Share of the requests that a canary gets."""
    canary_min_items: Count = 1000
    """Items that a canary must have answered before it is judged."""
    canary_max_failures: Share = 0.001
    """How much larger its share of failed items may be than the stable version's."""
    canary_max_slowdown: Positive = 1.5
    """How many times the stable version's mean time an item may take."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """All parameters, one section a step."""

    catalog: CatalogParams = field(default_factory=CatalogParams)
    render: RenderParams = field(default_factory=RenderParams)
    validation: ValidationParams = field(default_factory=ValidationParams)
    duplicates: DuplicatesParams = field(default_factory=DuplicatesParams)
    regions: RegionsParams = field(default_factory=RegionsParams)
    model: ModelParams = field(default_factory=ModelParams)
    mining: MiningParams = field(default_factory=MiningParams)
    augment: AugmentParams = field(default_factory=AugmentParams)
    objectives: ObjectivesParams = field(default_factory=ObjectivesParams)
    training: TrainingParams = field(default_factory=TrainingParams)
    launch: LaunchParams = field(default_factory=LaunchParams)
    pipeline: PipelineParams = field(default_factory=PipelineParams)
    evaluation: EvaluationParams = field(default_factory=EvaluationParams)
    gate: GateParams = field(default_factory=GateParams)
    serving: ServingParams = field(default_factory=ServingParams)
    collector: CollectorParams = field(default_factory=CollectorParams)
    drift: DriftParams = field(default_factory=DriftParams)
