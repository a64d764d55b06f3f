# SPDX-License-Identifier: Apache-2.0
"""A model that is quick to run and sure of what it says, its autoregressive peer, and what they are asked."""

import pytest
import torch

from geodit.speed.models import autoregressive_peer, build_model
from geodit.speed.shapes import Shape
from geodit.speed.workloads import Workload, make_inputs


@pytest.fixture(scope="session")
def cpu():
    return torch.device("cpu")


@pytest.fixture(scope="session")
def shape():
    return Shape(
        name="test",
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        vocab_size=64,
        tie_word_embeddings=False,
        vision_hidden_size=16,
        vision_intermediate_size=24,
        vision_num_hidden_layers=2,
        vision_num_attention_heads=2,
        patch_size=4,
    )


@pytest.fixture(scope="session")
def workload():
    """Two images; 4 image tokens and 17 of the prompt each."""
    return Workload(prefix_length=21, canvas_length=8, steps=3, batch_size=2, dtype="float32")


@pytest.fixture(scope="session")
def questions():
    """Three questions on one image."""
    return Workload(prefix_length=21, canvas_length=8, steps=3, dtype="float32", questions=3)


@pytest.fixture(scope="session")
def model(shape, workload, cpu):
    model = build_model(shape.config(workload.num_image_tokens), torch.float32, cpu)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        # Large weights give every position clear preferences: no choice hangs on rounding errors.
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.3, generator=generator)
    # The reference would commit [M] and image placeholders, which generate() never does: here they are not proposed.
    model.lm_head.weight.data[[model.config.mask_token_id, model.config.image_token_id]] = 0
    return model


@pytest.fixture(scope="session")
def peer(model):
    return autoregressive_peer(model)


@pytest.fixture
def inputs(model, workload, cpu):
    return make_inputs(model.config, workload, cpu)


@pytest.fixture
def question_inputs(model, questions, cpu):
    return make_inputs(model.config, questions, cpu)
