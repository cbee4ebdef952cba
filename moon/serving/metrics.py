"""Prometheus metrics of the server; KServe's ``/metrics`` shows them beside its own. Names stay as they are."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 30)
_POWERS: Final = tuple(2**power for power in range(17))

ITEMS = Counter("moon_items", "Items embedded", ["route", "view"])
ERRORS = Counter("moon_errors", "Requests, and single items, refused or failed", ["reason"])
PENDING = Gauge("moon_pending_items", "Items accepted and not yet answered")

PREPROCESS_SECONDS = Histogram(
    "moon_preprocess_seconds", "Time of one item from accepted to ready for the model", buckets=_SECONDS
)
QUEUE_SECONDS = Histogram("moon_queue_seconds", "Time of one item from ready to computed on", buckets=_SECONDS)
FORWARD_SECONDS = Histogram("moon_forward_seconds", "Time of one forward pass", buckets=_SECONDS)
POSTPROCESS_SECONDS = Histogram(
    "moon_postprocess_seconds", "Time of one request from its last vector to its answer", buckets=_SECONDS
)
BATCH_ITEMS = Histogram("moon_batch_items", "Items in one forward pass", buckets=_POWERS[:10])
BATCH_TOKENS = Histogram("moon_batch_tokens", "Tokens in one forward pass, padding included", buckets=_POWERS)
PADDING_RATIO = Histogram(
    "moon_padding_ratio", "Share of a forward pass that is padding", buckets=tuple(step / 10 for step in range(10))
)

CACHE_HITS = Counter("moon_cache_hits", "Items answered from the cache")
CACHE_MISSES = Counter("moon_cache_misses", "Items looked up in the cache and not found")
CACHE_BYTES = Gauge("moon_cache_bytes", "Memory of the cached answers")
DECODE_RESTARTS = Counter("moon_decode_restarts", "Decoding processes replaced because they ended or hung")
MODEL_RESTARTS = Counter("moon_model_restarts", "Model processes replaced because they ended")

EMBEDDING_NORM = Histogram(
    "moon_embedding_norm",
    "Norm of an embedding before it is normalised",
    buckets=tuple(0.125 * 2 ** (step / 2) for step in range(24)),
)
CENTROID_DISTANCE = Gauge(
    "moon_centroid_distance", "Cosine distance of the recent answers' mean to the reference's", ["view"]
)
MISSING_MODALITY = Gauge("moon_missing_modality_ratio", "Share of the recent items without this side", ["modality"])

SEARCH_SECONDS = Histogram("moon_search_seconds", "Time of one search of the index", buckets=_SECONDS)
SEARCH_TOP_SCORE = Histogram(
    "moon_search_top_score", "Score of the best product found", buckets=tuple(step / 10 for step in range(-2, 11))
)
INDEX_PRODUCTS = Gauge("moon_index_products", "Products in the index that is served")
INDEX_INFO = Gauge("moon_index_info", "1 for the index that is served", ["revision"])
INDEX_SWAPS = Counter("moon_index_swaps", "New search artefacts taken up (swapped) or refused (failed)", ["outcome"])
