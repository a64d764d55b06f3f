# SPDX-License-Identifier: Apache-2.0
"""GeoDiTGenerationConfig: defaults, refusal of bad input, and the way to JSON and back."""

import json

import pytest
from transformers import GenerationConfig

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig


def test_defaults_are_the_papers_settings():
    config = GeoDiTGenerationConfig()
    assert (config.max_new_tokens, config.max_denoising_steps, config.block_length) == (32, 8, None)
    assert (config.remasking, config.temperature, config.guidance_scale) == ("low_confidence", 0.0, 1.0)
    assert (config.initial_canvas_length, config.confidence_threshold, config.entropy_bound) == (None, None, None)
    assert (config.use_cache, config.prefix_refresh_steps) == (True, 1)
    assert config.seed is None
    assert config.return_dict_in_generate is False


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("max_denoising_step", "max_denoising_steps"),
        ("remask", "remasking"),
        ("guidance", "guidance_scale"),
        ("conf_threshold", "confidence_threshold"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_close_one_and_all_others(name, suggestion):
    with pytest.raises(ValueError, match=rf"{name}\. Did you mean {suggestion}\? Allowed: .*block_length"):
        GeoDiTGenerationConfig(**{name: 1})


@pytest.mark.parametrize("name", ["num_beams", "do_sample", "top_k", "cache_implementation", "max_length", "streamer"])
def test_autoregressive_parameters_are_refused_because_they_would_do_nothing(name):
    with pytest.raises(ValueError, match=f"Unknown generation parameter.*{name}"):
        GeoDiTGenerationConfig(**{name: 1})


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("max_new_tokens", 0, "integer >= 1"),
        ("max_new_tokens", None, "integer >= 1"),
        ("max_new_tokens", 8.0, "integer >= 1"),
        ("max_denoising_steps", -1, "integer >= 1"),
        ("max_denoising_steps", True, "integer >= 1"),
        ("block_length", 0, "integer >= 1"),
        ("remasking", "topk", "'low_confidence', 'random', 'low_margin', 'high_entropy'"),
        ("initial_canvas_length", 0, "integer >= 1"),
        ("confidence_threshold", -0.1, r"number >= 0 and <= 1 .a probability."),
        ("confidence_threshold", 90, r"number >= 0 and <= 1 .a probability."),
        ("confidence_threshold", True, "finite number"),
        ("entropy_bound", 0.0, r"number > 0 .in nats."),
        ("entropy_bound", float("nan"), r"number > 0 .in nats."),
        ("use_cache", 1, "True or False"),
        ("prefix_refresh_steps", 0, "integer >= 1"),
        ("temperature", -0.5, "number >= 0"),
        ("temperature", float("nan"), "finite number"),
        ("temperature", "hot", "finite number"),
        ("guidance_scale", 0.5, ">= 1 .1 turns guidance off"),
        ("guidance_scale", float("inf"), "finite number"),
        ("seed", -1, "integer >= 0"),
        ("seed", 2**63, "< 9223372036854775808"),
        ("suppress_tokens", 7, "list of token ids"),
        ("suppress_tokens", [3, -1], "integer >= 0"),
        ("mask_token_id", "<mask>", "integer >= 0"),
        ("eos_token_id", [1, "2"], "integer >= 0"),
        ("return_dict_in_generate", "yes", "True or False"),
    ],
)
def test_an_invalid_value_is_named_together_with_what_is_allowed(name, value, allowed):
    with pytest.raises(ValueError, match=rf"{name}.*{allowed}") as error:
        GeoDiTGenerationConfig(**{name: value})
    if not isinstance(value, list):
        assert repr(value) in str(error.value)


def test_every_block_needs_a_step():
    GeoDiTGenerationConfig(max_new_tokens=32, block_length=8, max_denoising_steps=4)
    with pytest.raises(ValueError, match="32 in blocks of block_length=8 makes 4 blocks"):
        GeoDiTGenerationConfig(max_new_tokens=32, block_length=8, max_denoising_steps=3)


@pytest.mark.parametrize(
    ("max_new_tokens", "block_length", "num_blocks"), [(32, None, 1), (32, 8, 4), (20, 8, 3), (8, 16, 1)]
)
def test_num_blocks_counts_a_shorter_last_block(max_new_tokens, block_length, num_blocks):
    config = GeoDiTGenerationConfig(max_new_tokens=max_new_tokens, block_length=block_length)
    assert config.num_blocks == num_blocks


@pytest.mark.parametrize(
    ("initial_canvas_length", "block_length", "num_blocks"),
    [
        (8, None, 4),  # 8 + 8 + 8 + 8
        (8, 24, 2),  # 8 + 24
        (16, 8, 4),  # (8 + 8) + 8 + 8
        (12, 8, 5),  # (8 + 4) + 8 + 8 + 4
        (32, None, 1),  # it never grows
    ],
)
def test_num_blocks_counts_the_extensions_of_a_growing_canvas(initial_canvas_length, block_length, num_blocks):
    config = GeoDiTGenerationConfig(
        max_new_tokens=32, initial_canvas_length=initial_canvas_length, block_length=block_length
    )
    assert config.num_blocks == num_blocks


def test_every_extension_needs_a_step():
    GeoDiTGenerationConfig(max_new_tokens=32, initial_canvas_length=8, max_denoising_steps=4)
    with pytest.raises(ValueError, match="initial_canvas_length=8 on, makes 4 blocks"):
        GeoDiTGenerationConfig(max_new_tokens=32, initial_canvas_length=8, max_denoising_steps=3)


def test_a_canvas_does_not_start_longer_than_it_may_become():
    with pytest.raises(ValueError, match=r"initial_canvas_length must be at most max_new_tokens=8, .* but is 16"):
        GeoDiTGenerationConfig(max_new_tokens=8, initial_canvas_length=16)


@pytest.mark.parametrize("remasking", ["low_confidence", "low_margin"])
def test_a_confidence_threshold_needs_scores_that_are_probabilities(remasking):
    GeoDiTGenerationConfig(remasking=remasking, confidence_threshold=0.9)


@pytest.mark.parametrize("remasking", ["random", "high_entropy"])
def test_a_confidence_threshold_is_refused_where_there_are_none(remasking):
    message = f"confidence_threshold needs remasking to be one of 'low_confidence', 'low_margin', .*'{remasking}'"
    with pytest.raises(ValueError, match=message):
        GeoDiTGenerationConfig(remasking=remasking, confidence_threshold=0.9)


@pytest.mark.parametrize("remasking", ["low_confidence", "random", "low_margin"])
def test_an_entropy_bound_is_for_entropies(remasking):
    GeoDiTGenerationConfig(remasking="high_entropy", entropy_bound=0.1)
    message = f"entropy_bound needs remasking to be one of 'high_entropy', but it is '{remasking}'"
    with pytest.raises(ValueError, match=message):
        GeoDiTGenerationConfig(remasking=remasking, entropy_bound=0.1)


def test_a_threshold_and_a_bound_exclude_each_other():
    with pytest.raises(ValueError, match="confidence_threshold or entropy_bound, not both"):
        GeoDiTGenerationConfig(confidence_threshold=0.9, entropy_bound=0.1)


def test_a_threshold_can_be_taken_back_for_a_strategy_that_has_none():
    config = GeoDiTGenerationConfig(confidence_threshold=0.9)
    copy = GeoDiTGenerationConfig.from_generation_config(config, remasking="random", confidence_threshold=None)
    assert copy == GeoDiTGenerationConfig(remasking="random")


def test_more_steps_than_tokens_are_allowed_as_in_llada():
    assert GeoDiTGenerationConfig(max_new_tokens=8, max_denoising_steps=16).max_denoising_steps == 16


def test_update_changes_values_and_refuses_what_the_constructor_refuses():
    config = GeoDiTGenerationConfig()
    assert config.update(max_denoising_steps=4, remasking="random") == {}
    assert (config.max_denoising_steps, config.remasking) == (4, "random")
    with pytest.raises(ValueError, match="Did you mean temperature"):
        config.update(temprature=1.0)
    with pytest.raises(ValueError, match="temperature must be"):
        config.update(temperature=-1)


def test_an_attribute_with_a_misspelt_name_is_found_by_validate():
    config = GeoDiTGenerationConfig()
    config.max_denoising_step = 4
    with pytest.raises(ValueError, match="max_denoising_step"):
        config.validate()


def test_json_round_trip(tmp_path):
    config = GeoDiTGenerationConfig(
        max_new_tokens=16,
        max_denoising_steps=4,
        block_length=8,
        initial_canvas_length=4,
        remasking="low_margin",
        confidence_threshold=0.9,
        use_cache=False,
        prefix_refresh_steps=3,
        temperature=0.5,
        guidance_scale=2.0,
        seed=7,
        suppress_tokens=[1, 2],
        return_dict_in_generate=True,
        mask_token_id=5,
        eos_token_id=[3, 4],
    )
    config.save_pretrained(tmp_path)
    loaded = GeoDiTGenerationConfig.from_pretrained(tmp_path)
    assert type(loaded) is GeoDiTGenerationConfig
    assert loaded == config
    assert loaded.eos_token_id == [3, 4]


def test_the_saved_file_names_every_parameter_even_at_its_default(tmp_path):
    GeoDiTGenerationConfig().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert saved["max_denoising_steps"] == 8
    assert saved["guidance_scale"] == 1.0
    assert "num_beams" not in saved


def test_a_typo_in_the_file_is_refused_when_it_is_read(tmp_path):
    (tmp_path / "generation_config.json").write_text('{"max_denoising_stps": 4}')
    with pytest.raises(ValueError, match="Did you mean max_denoising_steps"):
        GeoDiTGenerationConfig.from_pretrained(tmp_path)


def test_from_pretrained_takes_overrides(tmp_path):
    GeoDiTGenerationConfig(max_denoising_steps=4).save_pretrained(tmp_path)
    assert GeoDiTGenerationConfig.from_pretrained(tmp_path, max_denoising_steps=2).max_denoising_steps == 2


@pytest.mark.parametrize("as_dict", [False, True])
def test_from_model_config_takes_the_special_tokens_and_nothing_else(as_dict):
    model_config = GeoDiTConfig(mask_token_id=9, eos_token_id=8, pad_token_id=7, bos_token_id=6)
    config = GeoDiTGenerationConfig.from_model_config(model_config.to_dict() if as_dict else model_config)
    assert config == GeoDiTGenerationConfig(mask_token_id=9, eos_token_id=8, pad_token_id=7, bos_token_id=6)


def test_a_plain_generation_config_is_copied_if_it_asks_for_nothing_autoregressive():
    copy = GeoDiTGenerationConfig.from_generation_config(GenerationConfig(max_new_tokens=16), seed=1)
    assert copy == GeoDiTGenerationConfig(max_new_tokens=16, seed=1)
    with pytest.raises(ValueError, match="num_beams"):
        GeoDiTGenerationConfig.from_generation_config(GenerationConfig(num_beams=4))
    with pytest.raises(ValueError, match="but is a dict"):
        GeoDiTGenerationConfig.from_generation_config({"max_new_tokens": 16})
