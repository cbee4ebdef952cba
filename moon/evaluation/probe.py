"""Linear probe: what a linear classifier reads from the embeddings of products' pictures.

Zero-shot prediction asks how well label texts and pictures meet; a probe asks whether the label is in the picture's
vector at all. Multinomial logistic regression is fitted on products of the train split, answers for held-out ones, and
sees pictures only, as zero-shot prediction does: a title may say the colour in words.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from moon.evaluation.labels import LabelTask

Vectors = npt.NDArray[np.float32]
_ITERATIONS: Final = 300


@dataclass(frozen=True, kw_only=True)
class ProbeAnswers:
    """What a probe answers for the held-out products of a task."""

    predicted: Mapping[str, str]
    """Product id -> value."""
    train_products: int
    unseen: float
    """Share of the asked products none of whose values occur in train; they cannot be answered right."""
    converged: bool
    """Whether the fit ended before its iterations did."""

    @property
    def context(self) -> dict[str, float | bool]:
        """What the scores are to be read with."""
        return {"train_products": self.train_products, "unseen": self.unseen, "converged": self.converged}


def probe(
    task: LabelTask,
    answers: Mapping[str, frozenset[str]],
    train: Mapping[str, Vectors],
    asked: Mapping[str, Vectors],
) -> ProbeAnswers | None:
    """Fits on ``train`` and answers ``asked``; None where either is empty or train has fewer than two values.

    A train product with several values is a row for each of them. Vectors are scaled to unit variance, and the
    regression is scikit-learn's with its default L2 penalty.

    Args:
        task: the question.
        answers: product id -> its values, for the products of train.
        train: product id -> vector of its pictures.
        asked: the same for the held-out products of the task.
    """
    rows = [(train[one], value) for one, values in answers.items() if one in train for value in sorted(values)]
    known = {value for _, value in rows}
    if len(known) < 2 or not asked:
        return None
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.stack([vector for vector, _ in rows]), [value for _, value in rows])
    predicted = model.predict(np.stack(list(asked.values())))
    return ProbeAnswers(
        predicted={product_id: str(value) for product_id, value in zip(asked, predicted, strict=True)},
        train_products=sum(one in train for one in answers),
        converged=bool(model[-1].n_iter_.max() < _ITERATIONS),
        unseen=float(np.mean([not (task.truth[product_id] & known) for product_id in asked])),
    )
