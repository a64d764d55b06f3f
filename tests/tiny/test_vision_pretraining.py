# SPDX-License-Identifier: Apache-2.0
"""Dense pretraining: targets that fit the image, and a loss that goes down."""

import numpy as np
import pytest
import torch
from transformers import SiglipVisionConfig, SiglipVisionModel

from geodit.data.schema import Question, make_dataset, make_row
from geodit.tiny.dense_images import DenseBoxDataset
from geodit.tiny.dense_scenes import DenseSceneDataset
from geodit.tiny.scenes.dataset import synthetic_dataset
from geodit.tiny.scenes.vocabulary import label_names
from geodit.tiny.vision_pretraining import DenseVisionCollator, DenseVisionModel, distribution_focal_loss
from on_device import OnDevice

TOWER = SiglipVisionConfig(
    hidden_size=48,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=96,
    patch_size=12,
    vision_use_head=False,
)


@pytest.fixture(scope="module")
def batch():
    dataset = DenseSceneDataset(synthetic_dataset(6), grid=8)
    return DenseVisionCollator()([dataset[i] for i in range(6)])


def test_pixels_are_normalized_as_siglip_normalizes_them(batch):
    assert batch["pixel_values"].shape == (6, 3, 96, 96)
    assert -1 <= batch["pixel_values"].min() < 0 < batch["pixel_values"].max() <= 1


def test_patches_of_objects_have_boxes_and_the_rest_have_none(batch):
    assert batch["label"].shape == batch["color"].shape == batch["center"].shape == (6, 64)
    background = batch["label"] == 0
    assert (batch["box"][background] == 0).all()
    x1, y1, x2, y2 = batch["box"][~background].T
    assert (x1 < x2).all()
    assert (y1 < y2).all()
    assert not batch["center"][background].any()


def test_what_nobody_annotated_says_nothing(batch):
    """Real tree crowns have boxes and no colors: the loss on them alone is a number, and has no gradient for color."""
    box = (12.0, 24.0, 36.0, 48.0)
    question = Question("detect", "tree", boxes=(box,), labels=("tree",))
    crowns = DenseBoxDataset(
        make_dataset([make_row(np.zeros((96, 96, 3), np.uint8), "0", [question])]), 8, label_names
    )
    target = DenseVisionCollator()([crowns[0]])
    assert target["label"].count_nonzero() == 4
    assert set(target["label"].flatten().tolist()) == {0, 1 + label_names.index("tree")}
    torch.testing.assert_close(target["box"][target["label"] > 0], torch.tensor(box).expand(4, 4) / 96)
    assert target["center"].count_nonzero() == 1
    model = OnDevice(DenseVisionModel(SiglipVisionModel(TOWER), location_bins=16))
    loss = model(**target).loss
    loss.backward()
    assert loss.isfinite()
    assert not model.color_head.weight.grad.any()
    assert not model.scene_type_head.weight.grad.any()
    assert model.box_head.weight.grad.any()
    assert {name: value.dtype for name, value in target.items()} == {
        name: value.dtype for name, value in batch.items()
    }


def test_a_class_that_the_tower_does_not_know_is_refused():
    question = Question("detect", "moose", boxes=((0.0, 0.0, 9.0, 9.0),), labels=("moose",))
    rows = make_dataset([make_row(np.zeros((96, 96, 3), np.uint8), "0", [question])])
    with pytest.raises(ValueError, match="no class is called moose"):
        DenseBoxDataset(rows, 8, label_names)


def test_a_tower_learns_what_patches_show(batch):
    torch.manual_seed(0)
    model = OnDevice(DenseVisionModel(SiglipVisionModel(TOWER), location_bins=16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = model(**batch)
    for _ in range(60):
        output = model(**batch)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert output.loss < 0.6 * first.loss
    assert output.label_accuracy > 0.9
    assert output.box_error < 0.5 * first.box_error


def test_distribution_focal_loss_is_least_for_the_mixture_of_the_two_nearest_bins():
    # Four bins with centers at 1/8, 3/8, 5/8 and 7/8; a target of 1/2 lies halfway between two of them.
    target = torch.tensor([0.5])
    best = torch.tensor([[1e-9, 0.5, 0.5, 1e-9]]).log()
    torch.testing.assert_close(distribution_focal_loss(best, target), torch.tensor(2.0).log())
    for other in ([0.1, 0.4, 0.4, 0.1], [1e-9, 0.7, 0.3, 1e-9]):
        assert distribution_focal_loss(torch.tensor([other]).log(), target) > torch.tensor(2.0).log()


def test_targets_at_the_border_fall_into_the_outer_bins():
    for target, bin_index in ((0.0, 0), (1.0, 3)):
        logits = torch.full((1, 4), -20.0)
        logits[0, bin_index] = 20.0
        assert distribution_focal_loss(logits, torch.tensor([target])) < 1e-3
