"""What answers look like, as numbers on ``/metrics``: monitoring needs no log of full requests for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from moon.model import View
from moon.serving import metrics
from moon.serving.batcher import Vectors


class DriftGauges:
    """Norms, distance to the reference's centroid, and how often a side is missing.

    Means are exponential: an answer's weight falls to 1/e over ``window`` further answers.

    Args:
        centroids: view -> mean vector (D,) of a reference, such as the catalogue's queries or an earlier window; a
            view without one gets no distance.
        window: answers that the means look back on.
    """

    def __init__(self, centroids: Mapping[str, Sequence[float]], window: int = 1000) -> None:
        self._references = {view: _unit(np.asarray(centroid, np.float64)) for view, centroid in centroids.items()}
        self._means: dict[View, Vectors] = {}
        self._missing = {"text": 0.0, "image": 0.0}
        self._keep = 1 - 1 / window
        self._seen = 0

    def observe(self, view: View, vector_D: Vectors, norm: float) -> None:
        """Takes in one answer and its vector's norm."""
        self._seen += 1
        # As long as the window is not full, every answer counts alike.
        keep = min(self._keep, 1 - 1 / self._seen)
        for side in self._missing:
            absent = float(view not in (side, "multimodal"))
            self._missing[side] = keep * self._missing[side] + (1 - keep) * absent
        if view in self._references:
            mean = self._means.get(view)
            # A view seen rarely takes the overall share too: its mean then moves more slowly, towards the same place.
            self._means[view] = vector_D.copy() if mean is None else keep * mean + (1 - keep) * vector_D
        metrics.EMBEDDING_NORM.observe(norm)

    def publish(self) -> None:
        """Sets the gauges."""
        for side, share in self._missing.items():
            metrics.MISSING_MODALITY.labels(side).set(share)
        for view, mean in self._means.items():
            metrics.CENTROID_DISTANCE.labels(view).set(1.0 - float(_unit(mean) @ self._references[view]))


def _unit(vector: Vectors) -> Vectors:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
