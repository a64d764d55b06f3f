# SPDX-License-Identifier: Apache-2.0
"""A cache that layers were given and did not write to is an error, not a wrong answer."""

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaAttention

from defined_environment import DEVICE
from geodit.configuration.configuration_geodit import GeoDiTTextConfig
from geodit.modeling_geodit.cache_geodit import SegmentCache, cache_keyword
from geodit.modeling_geodit.modeling_geodit import GeoDiTTextModel


@pytest.fixture
def text_core():
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return GeoDiTTextModel(GeoDiTTextConfig(vocab_size=50, **size, **tokens)).eval().to(DEVICE)


def run(text_core, **options):
    """Five tokens with a cache of their own."""
    cache = SegmentCache.empty(2, 1, 8, torch.device(DEVICE))
    cache.begin_segment(0, torch.ones(1, 5, dtype=torch.bool, device=DEVICE))
    input_ids = torch.tensor([[5, 6, 7, 8, 9]], device=DEVICE)
    positions = torch.arange(5, device=DEVICE).unsqueeze(0)
    return text_core(input_ids=input_ids, position_ids=positions, cache=cache, **options).last_hidden_state


class DeafAttention(LlamaAttention):
    """Takes no notice of its cache, as a layer of another version of Transformers may."""

    def forward(self, hidden_states, position_embeddings, attention_mask=None, **kwargs):
        return super().forward(hidden_states, position_embeddings, attention_mask)


@torch.no_grad()
@pytest.mark.parametrize("num_outputs", [None, 0, 2])
@pytest.mark.parametrize("deaf_layer", [0, 1])
def test_a_layer_that_does_not_write_to_it_is_an_error(text_core, deaf_layer, num_outputs):
    expected = run(text_core, num_outputs=num_outputs)
    assert expected.shape == (1, 5 if num_outputs is None else num_outputs, 32)
    text_core.layers[deaf_layer].self_attn.__class__ = DeafAttention
    if (deaf_layer, num_outputs) == (1, 0):  # the last layer is asked for nothing
        assert torch.equal(run(text_core, num_outputs=0), expected)
        return
    with pytest.raises(RuntimeError, match=f"Layer {deaf_layer} wrote [03] of 5 tokens to the cache"):
        run(text_core, num_outputs=num_outputs)


@torch.no_grad()
def test_so_is_one_without_a_cache_of_the_callers(text_core):
    text_core.layers[1].self_attn.__class__ = DeafAttention
    with pytest.raises(RuntimeError, match="Layer 1 wrote 3 of 5 tokens"):
        text_core(input_ids=torch.tensor([[5, 6, 7, 8, 9]], device=DEVICE), num_outputs=2)


def test_gradient_checkpointing_that_takes_the_cache_away_is_an_error(text_core):
    text_core.gradient_checkpointing_enable()
    text_core.train()
    with pytest.raises(RuntimeError, match=r"under gradient checkpointing, call model\.eval"):
        run(text_core)


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_the_name_of_the_argument_is_that_of_the_installed_version(name):
    layer = type("Layer", (torch.nn.Module,), {})
    exec(f"def forward(self, hidden_states, {name}=None): pass", namespace := {})
    layer.forward = namespace["forward"]
    assert cache_keyword(layer) == name


def test_a_layer_that_takes_none_is_refused_when_the_code_is_imported():
    with pytest.raises(ImportError, match=r"Linear .* takes no cache by the name of cache or past_key_values"):
        cache_keyword(torch.nn.Linear)


def test_the_layers_may_say_more_than_is_needed():
    cache = SegmentCache.empty(1, 1, 4, torch.device("cpu"))
    cache.begin_segment(0, torch.ones(1, 2, dtype=torch.bool))
    states = torch.randn(1, 1, 2, 4)
    keys, _ = cache.update(states, states, 0, kwargs={"is_causal": False})
    assert torch.equal(keys, states)
