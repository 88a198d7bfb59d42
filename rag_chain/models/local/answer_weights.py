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
        "cosine": 0.3345,
        "cosine_of_best": 3.2590,
        "overlap": 1.2615,
        "overlap_with_heading": -3.1441,
        "overlap_with_neighbours": 0.1705,
        "cosine_of_source": 4.2721,
        "cosine_below_best_source": 6.4014,
        "rank": 2.0695,
        "place": 0.9080,
        "neighbour_cosine": -1.1068,
        "fits": 0.4775,
        "length": -0.1600,
        "is_item": 0.0000,
        "is_row": 0.0000,
        "is_code": 0.0000,
        "is_dependent": 0.0074,
        "source_overlap": 1.7995,
        "source_mean": -0.7651,
        "relative_overlap": 1.9059,
        "is_title": 0.8626,
    },
    bias=-4.1356,
)
"""Logit that a unit is part of an answer; the names are ``UNIT_FEATURES``."""

EVIDENCE = Logistic(
    {
        "cosine": -0.0803,
        "source_overlap": 1.5770,
        "margin": 2.9614,
        "source_mean": 3.0785,
        "probability": 1.0082,
        "sum_of_probabilities": -0.8225,
        "fails_to_fit": -0.5898,
        "best_tokens": 3.9763,
        "mean_tokens": 8.9037,
        "third_tokens": 0.3626,
        "leans": 0.0000,
    },
    bias=-6.4023,
)
"""Logit that the sources answer the question; the names are ``EVIDENCE_FEATURES``."""
