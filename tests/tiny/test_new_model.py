# SPDX-License-Identifier: Apache-2.0
"""A new model: parts that fit each other, and location tokens that know their neighbours."""

import torch
from torch.nn.functional import cosine_similarity

from geodit.tiny.new_model import init_location_embeddings
from tiny_models import build_model


def test_model_and_processor_agree_on_every_token():
    model, processor = build_model()
    tokenizer, config = processor.tokenizer, model.config
    assert config.text_config.vocab_size == len(tokenizer) == model.lm_head.weight.shape[0]
    assert config.mask_token_id == tokenizer.mask_token_id
    assert config.image_token_id == processor.image_token_id
    assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert config.num_image_tokens == processor.num_image_tokens


def test_location_tokens_resemble_their_neighbours_and_not_those_far_away():
    torch.manual_seed(0)
    weight = torch.randn(200, 256) * 0.05
    ids = list(range(100, 164))
    others = weight[:100].clone()
    init_location_embeddings(weight, ids)
    assert torch.equal(weight[:100], others)
    torch.testing.assert_close(weight[ids].std(), torch.tensor(0.05), atol=0.005, rtol=0)
    near = cosine_similarity(weight[ids[:-1]], weight[ids[1:]]).mean()
    far = cosine_similarity(weight[ids[:-20]], weight[ids[20:]]).abs().mean()
    assert near > 0.9
    assert far < 0.2
