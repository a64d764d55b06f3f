# SPDX-License-Identifier: Apache-2.0
"""Dense pretraining of a small SigLIP vision tower.

SigLIP-2 is trained with dense and captioning objectives beside the contrastive one. A tower of a million parameters
gets the dense part here: every patch says which object it shows, its color and its box, and the mean over the patches
says the type of the scene. What nobody has annotated, the color of a tree crown for one, says nothing. The heads are
thrown away afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import SiglipVisionModel
from transformers.utils.generic import ModelOutput

from geodit.tiny.dense_images import UNKNOWN
from geodit.tiny.scenes.vocabulary import color_names, label_names, scene_type_names


@dataclass
class DenseVisionOutput(ModelOutput):
    """Output of [`DenseVisionModel`].

    Args:
        loss: Sum of the losses of all heads.
        label_accuracy: Share of patches whose class is right.
        box_error: Mean distance of a box edge, as a share of the image's side, over the patches of objects.
    """

    loss: torch.Tensor | None = None
    label_accuracy: torch.Tensor | None = None
    box_error: torch.Tensor | None = None


class DenseVisionModel(nn.Module):
    """A vision tower with one linear head for each dense target.

    Boxes are learnt as distributions over bins, as Generalized Focal Loss does: the bins are those of the location
    tokens, so that the features hold what the text core will have to write.

    Args:
        vision_tower: The tower to train; only its patch features are used.
        location_bins: Bins along a side of the image.
    """

    def __init__(self, vision_tower: SiglipVisionModel, location_bins: int) -> None:
        super().__init__()
        self.vision_tower = vision_tower
        self.location_bins = location_bins
        width = vision_tower.config.hidden_size
        self.label_head = nn.Linear(width, len(label_names) + 1)
        self.color_head = nn.Linear(width, len(color_names) + 1)
        self.box_head = nn.Linear(width, 4 * location_bins)
        self.center_head = nn.Linear(width, 1)
        self.scene_type_head = nn.Linear(width, len(scene_type_names))

    def forward(
        self,
        pixel_values: torch.Tensor,
        label: torch.Tensor,
        color: torch.Tensor,
        box: torch.Tensor,
        center: torch.Tensor,
        scene_type: torch.Tensor,
    ) -> DenseVisionOutput:
        """Compute the loss of a batch; shapes as in [`DensePatchDataset`] with a batch dimension B in front."""
        features = self.vision_tower(pixel_values).last_hidden_state.float()
        foreground = label > 0
        label_logits = self.label_head(features)
        box_logits = self.box_head(features[foreground]).unflatten(-1, (4, self.location_bins))
        loss = (
            _cross_entropy(label_logits.flatten(0, 1), label.flatten())
            + _cross_entropy(self.color_head(features[foreground]), color[foreground])
            + distribution_focal_loss(box_logits, box[foreground])
            + functional.binary_cross_entropy_with_logits(
                self.center_head(features).squeeze(-1)[foreground], center[foreground]
            )
            + 0.3 * _cross_entropy(self.scene_type_head(features.mean(1)), scene_type)
        )
        with torch.no_grad():
            predicted = (box_logits.argmax(-1) + 0.5) / self.location_bins
            return DenseVisionOutput(
                loss=loss,
                label_accuracy=(label_logits.argmax(-1) == label).float().mean(),
                box_error=(predicted - box[foreground]).abs().mean(),
            )


def _cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean over the targets that are known; 0 if none is, where PyTorch's mean would be nan."""
    known = (target != UNKNOWN).sum().clamp(min=1)
    return functional.cross_entropy(logits, target, ignore_index=UNKNOWN, reduction="sum") / known


def distribution_focal_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute the cross-entropy against the two bins whose centers enclose the target (Li et al., 2020, equation 6).

    Args:
        logits: `(..., bins)`.
        target: `(...)` in [0, 1].

    Returns:
        The mean, a scalar. With nothing to average it is 0.
    """
    bins = logits.shape[-1]
    position = (target * bins - 0.5).clamp(0, bins - 1)
    left = position.floor().long().clamp(max=bins - 2)
    weight = position - left
    log_probability = logits.log_softmax(-1)
    left_term = log_probability.gather(-1, left[..., None]).squeeze(-1) * (1 - weight)
    right_term = log_probability.gather(-1, left[..., None] + 1).squeeze(-1) * weight
    return -(left_term + right_term).sum() / max(target.numel(), 1)


class DenseVisionCollator:
    """Stacks the items of a [`DensePatchDataset`] and normalizes their pixels as SigLIP's image processor does."""

    def __init__(self, image_mean: float = 0.5, image_std: float = 0.5) -> None:
        self._mean, self._std = image_mean, image_std

    def __call__(self, items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Return `pixel_values` `(B, 3, H, W)` and the targets, stacked."""
        batch = {name: torch.stack([item[name] for item in items]) for name in items[0] if name != "pixels"}
        pixels = torch.stack([item["pixels"] for item in items]).permute(0, 3, 1, 2).float() / 255
        return {"pixel_values": (pixels - self._mean) / self._std, **batch}
