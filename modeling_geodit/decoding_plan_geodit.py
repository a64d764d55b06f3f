# SPDX-License-Identifier: Apache-2.0
"""How a call of `generate()` answers its prompts, whatever they are: parameters, rules, blocks and special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from transformers import PreTrainedTokenizerBase
from transformers.generation.configuration_utils import GenerationConfig

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.decoding_geodit import Block, build_decoding_policy, plan_blocks
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.model_types_geodit import ConfiguredModel
from geodit.modeling_geodit.patterns_geodit import AnswerPattern
from geodit.modeling_geodit.step_rules_geodit import StepRules
from geodit.modeling_geodit.stop_strings_geodit import StopStrings

__all__ = ["DecodingPlan", "first_given", "mask_and_eos", "plan_decoding"]

_Given = TypeVar("_Given")
_Default = TypeVar("_Default")


@dataclass(frozen=True)
class DecodingPlan:
    """How prompts are answered, whatever they are.

    Args:
        config: The parameters.
        rules: Decide what to commit.
        blocks: The blocks of the canvas.
        mask_token_id: Id of `[M]`.
        fill: The token after the end of a shorter canvas.
        stopping: Strings that end an answer.
    """

    config: GeoDiTGenerationConfig
    rules: StepRules
    blocks: tuple[Block, ...]
    mask_token_id: int
    fill: int
    stopping: StopStrings | None

    @property
    def num_answers(self) -> int:
        """C."""
        return 0 if self.rules.pattern is None else self.rules.pattern.num_answers

    def stop(self, state: DenoisingState) -> None:
        """End finished answers with the first stop string in them, in place."""
        eos = self.rules.eos_token_ids
        if self.stopping is not None:
            state.cut(self.stopping.lengths(state.canvas, eos), eos[0])


def plan_decoding(
    model: ConfiguredModel,
    generation_config: GenerationConfig | None,
    prompt_length: int | None,
    answer_pattern: AnswerPattern | None,
    stop_strings: str | Sequence[str] | None,
    tokenizer: PreTrainedTokenizerBase | None,
    **kwargs: object,
) -> DecodingPlan:
    """Make the plan of a call of `generate()`.

    Args:
        model: The model, or any object that has its `config` and `generation_config`.
        generation_config: Parameters in place of the model's own.
        prompt_length: P, from which `max_length` counts.
        answer_pattern: What every answer must look like.
        stop_strings: Strings that end an answer.
        tokenizer: Decodes the canvas to look for `stop_strings`.
        **kwargs: Fields of the configuration that differ in this call.

    Raises:
        ValueError: for unknown or invalid parameters.
    """
    config = GeoDiTGenerationConfig.from_generation_config(
        model.generation_config if generation_config is None else generation_config,
        prompt_length=prompt_length,
        **kwargs,
    )
    mask_token_id, eos_token_ids = mask_and_eos(model.config, config)
    placeholders = [mask_token_id, model.config.image_token_id]
    _check_token_ids(
        model,
        mask_token_id=[mask_token_id],
        eos_token_id=eos_token_ids,
        pad_token_id=[] if config.pad_token_id is None else [config.pad_token_id],
        suppress_tokens=config.suppress_tokens or [],
    )
    stopping = None if stop_strings is None else StopStrings(stop_strings, tokenizer)
    if stopping is not None and not eos_token_ids:
        raise ValueError("stop_strings need an eos_token_id, which stands behind the end of an answer.")
    policy = build_decoding_policy(config, [token for token in placeholders if token is not None])
    rules = StepRules(policy, eos_token_ids, config.fill_after_eos, answer_pattern, config.temperature)
    fill = eos_token_ids[0] if eos_token_ids else int(first_given(config.pad_token_id, model.config.pad_token_id) or 0)
    blocks = plan_blocks(
        config.max_new_tokens, config.block_length, config.max_denoising_steps, config.initial_canvas_length
    )
    return DecodingPlan(config, rules, blocks, mask_token_id, fill, stopping)


def mask_and_eos(config: GeoDiTConfig, generation_config: GeoDiTGenerationConfig) -> tuple[int, tuple[int, ...]]:
    """Return the id of `[M]`, and the tokens that end an answer: those of the parameters, or else of the model.

    Args:
        config: The configuration of the model.
        generation_config: The parameters.
    """
    eos = config.eos_token_id if generation_config.eos_token_id is None else generation_config.eos_token_id
    eos_token_ids = () if eos is None else (eos,) if isinstance(eos, int) else tuple(eos)
    return first_given(generation_config.mask_token_id, config.mask_token_id), eos_token_ids


def _check_token_ids(model: ConfiguredModel, **ids: Sequence[int]) -> None:
    """Refuse ids that the vocabulary does not have; a generation configuration is not checked against a model."""
    vocab_size = model.config.text_config.vocab_size
    for name, values in ids.items():
        if outside := [value for value in values if not 0 <= value < vocab_size]:
            raise ValueError(f"{name} has {outside[0]}, but the vocabulary has the ids 0 to {vocab_size - 1}.")


def first_given(value: _Given | None, default: _Default) -> _Given | _Default:
    """Return a value, or the default if it is `None`."""
    return default if value is None else value
