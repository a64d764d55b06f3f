# SPDX-License-Identifier: Apache-2.0
"""Metrics of the five tasks, as `evaluate.Metric` classes that need no network.

They are classes to instantiate, `DetectionMetric().compute(predictions=..., references=...)`:
`evaluate.load` would look for a script on the Hub.
"""

from __future__ import annotations

from geodit.evaluation.metrics.captioning import CaptioningMetric
from geodit.evaluation.metrics.detection import DetectionMetric
from geodit.evaluation.metrics.exact_match import ExactMatchMetric
from geodit.evaluation.metrics.grounding import GroundingMetric

__all__ = ["CaptioningMetric", "DetectionMetric", "ExactMatchMetric", "GroundingMetric"]
