# SPDX-License-Identifier: Apache-2.0
"""Arguments of `generate()` as users of autoregressive models write them.

Those that mean something on a canvas are translated, those that are set to do nothing are left out, and the others are
refused by name, with what to use instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized

from transformers.generation.configuration_utils import GenerationConfig

from geodit.configuration.types_geodit import Arguments

__all__ = ["AUTOREGRESSIVE_FIELDS", "translate_arguments"]

AUTOREGRESSIVE_FIELDS = frozenset(name for name in vars(GenerationConfig()) if not name.startswith("_"))
"""The fields of [`~transformers.GenerationConfig`] in the installed version of Transformers."""

_NEUTRAL: Mapping[str, object] = {
    "diversity_penalty": 0,
    "early_stopping": False,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1,
    "epsilon_cutoff": 0,
    "eta_cutoff": 0,
    "is_assistant": False,
    "length_penalty": 1,
    "low_memory": False,
    "min_length": 0,
    "min_new_tokens": 0,
    "no_repeat_ngram_size": 0,
    "num_beam_groups": 1,
    "num_beams": 1,
    "num_return_sequences": 1,
    "output_attentions": False,
    "output_hidden_states": False,
    "output_logits": False,
    "output_scores": False,
    "penalty_alpha": 0,
    "remove_invalid_values": False,
    "renormalize_logits": False,
    "repetition_penalty": 1,
    "synced_gpus": False,
    "token_healing": False,
    "top_k": 0,
    "top_p": 1,
    "typical_p": 1,
    "use_mtp": False,
}
"""The value that turns a parameter off. For the others that is `None`, or nothing in it."""

# Arguments of `generate` of autoregressive models that are no fields of their configuration.
_OTHER_ARGUMENTS = frozenset(
    (
        "assistant_model",
        "assistant_tokenizer",
        "cache",
        "custom_generate",
        "inputs_embeds",
        "logits_processor",
        "negative_prompt_attention_mask",
        "negative_prompt_ids",
        "past_key_values",
        "position_ids",
        "prefix_allowed_tokens_fn",
        "stopping_criteria",
        "synced_gpus",
        "token_type_ids",
    )
)

_INSTEAD = {
    "bad_words_ids": "suppress_tokens keeps single tokens out",
    "cache": "image_prefix shares what was computed of an image",
    "inputs_embeds": "give input_ids, and images as pixel_values or image_features",
    "logits_processor": "suppress_tokens keeps tokens out",
    "max_time": "max_denoising_steps and confidence_threshold bound the work",
    "num_beams": "max_denoising_steps trades time for quality",
    "num_return_sequences": "repeat the prompt, and sample by temperature",
    "output_scores": "return_dict_in_generate gives the confidence of every token",
    "past_key_values": "image_prefix shares what was computed of an image",
    "prefix_allowed_tokens_fn": "suppress_tokens keeps tokens out",
    "stopping_criteria": "stop_strings and eos_token_id end an answer, step_callback sees every step",
    "top_k": "temperature sets how freely tokens are sampled",
    "top_p": "temperature sets how freely tokens are sampled",
}


def translate_arguments(given: Arguments, defaults: Arguments, prompt_length: int | None = None) -> Arguments:
    """Turn arguments of `generate()` into fields of [`GeoDiTGenerationConfig`].

    `do_sample` becomes a temperature: 0 if it is false, and 1 if it is true and nothing sets another. `max_length`,
    which counts the prompt, becomes `max_new_tokens`.

    Args:
        given: What the caller set.
        defaults: The fields of [`GeoDiTGenerationConfig`] as they are without it.
        prompt_length: P, tokens of the prompts with their padding; `None` where there is no prompt yet.

    Returns:
        The arguments that are left, unknown ones among them.

    Raises:
        ValueError: for a parameter that cannot do anything here, or two that contradict each other.
    """
    values = {name: value for name, value in given.items() if name in defaults or not _is_off(name, value)}
    do_sample = values.pop("do_sample", None)
    if do_sample is not None:
        values["temperature"] = _temperature(do_sample, values.get("temperature"), defaults["temperature"])
    max_length = values.pop("max_length", None)
    if max_length is not None:
        values["max_new_tokens"] = _max_new_tokens(max_length, values, prompt_length)
    for name, value in values.items():
        if name not in defaults and name in AUTOREGRESSIVE_FIELDS | _OTHER_ARGUMENTS:
            hint = f" Instead, {_INSTEAD[name]}." if name in _INSTEAD else " Leave it out."
            shown = value if isinstance(value, bool | int | float | str) else type(value).__name__
            raise ValueError(
                f"{name} ({shown}) is for decoding from left to right and does nothing on a canvas.{hint}"
            )
    return values


def _is_off(name: str, value: object) -> bool:
    """Return whether a parameter of autoregressive decoding is set to do nothing."""
    if name in _NEUTRAL:
        return bool(value is None or value == _NEUTRAL[name])
    known = name in AUTOREGRESSIVE_FIELDS | _OTHER_ARGUMENTS
    return known and (value is None or (isinstance(value, Sized) and len(value) == 0))


def _temperature(do_sample: object, given: float | None, default: float) -> float:
    if not isinstance(do_sample, bool):
        raise ValueError(f"do_sample must be True or False, but is {do_sample!r}.")
    if given is not None and (given > 0) != do_sample:
        raise ValueError(
            f"do_sample={do_sample} and temperature={given} contradict each other: sampling is temperature above 0. "
            "Leave do_sample out."
        )
    if not do_sample:
        return 0.0
    return given or default or 1.0


def _max_new_tokens(max_length: object, values: Arguments, prompt_length: int | None) -> int:
    if "max_new_tokens" in values:
        raise ValueError("Give max_new_tokens or max_length, which counts the prompt, not both.")
    if prompt_length is None:
        raise ValueError("max_length counts the prompt, which is not known here: give max_new_tokens.")
    if not isinstance(max_length, int) or isinstance(max_length, bool) or max_length <= prompt_length:
        raise ValueError(
            f"max_length counts the prompt, so that it must be an integer above its {prompt_length} tokens, but is "
            f"{max_length!r}. Or give max_new_tokens."
        )
    return max_length - prompt_length
