# SPDX-License-Identifier: Apache-2.0
"""The contestants' networks: one set of weights, and the same layers."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.modeling_outputs import BaseModelOutputWithPooling

from geodit.speed import models
from geodit.speed.models import build_model, count_parameters


def test_weights_depend_on_the_seed_and_leave_the_global_random_numbers_alone(shape, cpu):
    before = torch.get_rng_state()
    first, again, other = (build_model(shape.config(4), torch.float32, cpu, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


class Devices(TorchDispatchMode):
    """Notes where matrices are made."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        if isinstance(result, torch.Tensor) and result.is_floating_point() and result.dim() == 2:
            self.seen.add(result.device.type)
        return result


def test_weights_are_made_where_they_shall_be(shape):
    with Devices() as devices:
        model = build_model(shape.config(4), torch.bfloat16, torch.device("meta"))
        peer = models.autoregressive_peer(model)
    assert devices.seen == {"meta"}
    assert model.lm_head.weight.device.type == peer.lm_head.weight.device.type == "meta"


def test_rotary_frequencies_stay_in_single_precision(shape, cpu):
    model = build_model(shape.config(4), torch.bfloat16, cpu)
    assert model.dtype == torch.bfloat16
    assert model.model.language_model.rotary_emb.inv_freq.dtype == torch.float32


def test_parameters_are_counted_without_making_them(shape, model):
    counts = count_parameters(shape.config(4))
    assert counts["total"] == sum(parameter.numel() for parameter in model.parameters())
    assert counts["vision"] == sum(parameter.numel() for parameter in model.model.vision_tower.parameters())


def test_a_model_that_does_not_fit_is_refused(shape, cpu, monkeypatch):
    monkeypatch.setattr(models, "_physical_memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"this machine has 0\.0 GB of memory: choose a smaller shape"):
        build_model(shape.config(4), torch.float32, cpu)


class TestPeer:
    def test_its_parameters_are_those_of_the_model(self, model, peer):
        own = {name: parameter.data_ptr() for name, parameter in peer.named_parameters()}
        assert own == {name: parameter.data_ptr() for name, parameter in model.named_parameters()}

    def test_tied_embeddings_are_shared_too(self, shape, cpu):
        config = shape.config(4)
        config.tie_word_embeddings = True
        model = build_model(config, torch.bfloat16, cpu)
        peer = models.autoregressive_peer(model)
        embeddings = {model.lm_head.weight.data_ptr(), model.get_input_embeddings().weight.data_ptr()}
        assert {peer.lm_head.weight.data_ptr(), peer.get_input_embeddings().weight.data_ptr()} == embeddings
        assert len(embeddings) == 1
        assert peer.dtype == torch.bfloat16

    @torch.no_grad()
    def test_but_for_the_mask_its_text_core_computes_the_same(self, model, peer):
        embeds = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
        causal = torch.ones(5, 5, dtype=torch.bool).tril().expand(2, 1, 5, 5)
        expected = peer.model.language_model(inputs_embeds=embeds).last_hidden_state
        own = model.model.language_model(inputs_embeds=embeds, attention_mask=causal).last_hidden_state
        torch.testing.assert_close(own, expected)

    @torch.no_grad()
    def test_but_for_the_last_norm_its_image_features_are_the_same(self, model, peer, inputs):
        features = peer.model.vision_tower(inputs.pixel_values, output_hidden_states=True)
        assert isinstance(features, BaseModelOutputWithPooling)
        normed = model.model.vision_tower.post_layernorm(features.hidden_states[-1])
        torch.testing.assert_close(
            peer.model.multi_modal_projector(normed), model.get_image_features(inputs.pixel_values).pooler_output
        )
        plain = peer.model.multi_modal_projector(features.hidden_states[-1])
        torch.testing.assert_close(
            torch.stack(peer.get_image_features(inputs.pixel_values, return_dict=True).pooler_output), plain
        )

    def test_all_run_on_the_same_implementation_of_attention(self, model, peer):
        parts = [
            part for network in (model.model, peer.model) for part in (network.vision_tower, network.language_model)
        ]
        assert {part.config._attn_implementation for part in parts} == {"sdpa"}
