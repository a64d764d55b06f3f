# SPDX-License-Identifier: Apache-2.0
"""What lmms-eval is told of GeoDiT, by the entry point `geodit` of the group `lmms_eval.models`.

lmms-eval calls it whenever it starts, so that nothing large is imported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest

__all__ = ["manifest"]


def manifest() -> ModelManifest:
    """Return name and class of the model."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="geodit", simple_class_path="geodit.evaluation.lmms.model.GeoDiT")
