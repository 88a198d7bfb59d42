"""The weights of ``local:extractive``, written by ``scripts/train_answerer.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Logistic:
    """A logistic regression.

    Args:
        weights: name of a feature -> its weight, in the order of the features.
        bias: added to the weighted sum.
    """

    weights: Mapping[str, float]
    bias: float

    def logits(self, features: Floats) -> Floats:
        """Return the logits of rows of features, ``float64[n, features]`` -> ``float64[n]``."""
        result: Floats = features @ np.array(list(self.weights.values())) + self.bias
        return result


UNITS = Logistic(
    {
        "cosine": -0.7417,
        "cosine_of_best": 4.2480,
        "overlap": -0.7404,
        "overlap_with_heading": -0.8095,
        "overlap_with_neighbours": 0.0746,
        "cosine_of_source": 4.5742,
        "cosine_below_best_source": 8.3726,
        "rank": 2.2312,
        "place": 1.0086,
        "neighbour_cosine": -0.9116,
        "fits": 0.7052,
        "length": -0.1656,
        "is_item": 0.0000,
        "is_row": 0.0000,
        "is_code": 0.0000,
        "is_dependent": 0.0038,
        "source_overlap": 1.7072,
        "source_mean": -0.2949,
        "relative_overlap": 1.7750,
        "is_title": 0.9526,
    },
    bias=-4.1744,
)
"""Logit that a unit is part of an answer; the names are ``UNIT_FEATURES``."""

EVIDENCE = Logistic(
    {
        "cosine": 0.4124,
        "source_overlap": 1.2431,
        "margin": 2.2564,
        "source_mean": 2.5023,
        "probability": -0.1930,
        "sum_of_probabilities": -0.7207,
        "fails_to_fit": -0.4398,
        "best_tokens": 5.5664,
        "mean_tokens": 8.7595,
        "third_tokens": 0.7705,
        "leans": 0.0000,
    },
    bias=-6.6840,
)
"""Logit that the sources answer the question; the names are ``EVIDENCE_FEATURES``."""
