# SPDX-License-Identifier: Apache-2.0
"""What a model is asked by: `generate()`, `generate_many()` and `encode_image()`.

An answer is made in three steps, each in a module of its own: `plan_decoding` turns the parameters into rules,
`prepare_prompts` turns prompts into embeddings with a canvas of `[M]` tokens, and `denoise_prompts` denoises the
canvas.

Shapes: B batch, P prompt length, L canvas length, N denoising steps, n image tokens, d hidden size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.generation.configuration_utils import GenerationConfig
from transformers.generation.streamers import BaseStreamer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import GENERATION_CONFIG_NAME, logging
from transformers.utils.generic import ModelOutput

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.configuration.types_geodit import Arguments
from geodit.modeling_geodit.cache_geodit import ImagePrefix, SegmentCache
from geodit.modeling_geodit.compiled_layers_geodit import RunLayer, compiled_layers_of
from geodit.modeling_geodit.decoding_plan_geodit import DecodingPlan, first_given, plan_decoding
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.host_copies_geodit import index_on, to_device
from geodit.modeling_geodit.layer_runs_geodit import run_layer, write_segment
from geodit.modeling_geodit.loop_choice_geodit import (
    asks_for_capture,
    captures_steps,
    denoise_prompts,
    find_loop,
)
from geodit.modeling_geodit.model_types_geodit import Network, head_dim
from geodit.modeling_geodit.patterns_geodit import AnswerPattern
from geodit.modeling_geodit.predictors_geodit import (
    Segment,
)
from geodit.modeling_geodit.prompts_geodit import (
    ImageFeatures,
    device_for,
    encode_pixels,
    pooled_features,
    prepare_prompts,
)
from geodit.modeling_geodit.slots_geodit import FinishedAnswer, PromptQueue, WaitingPrompts, denoise_in_slots
from geodit.modeling_geodit.step_capture_geodit import (
    why_not_by_layer,
)

__all__ = ["GeoDiTGenerateOutput", "GeoDiTGenerationMixin"]

logger = logging.get_logger(__name__)


@dataclass
class GeoDiTGenerateOutput(ModelOutput):
    """What `generate(return_dict_in_generate=True)` returns.

    Args:
        sequences: `(B, P + L)` int64, the prompt as given, followed by the canvas.
        commit_steps: `(B, L)` int64, the step of its row, counted from 0, at which each token of the canvas was
            committed; -1 for what was never denoised: after the end of a row or of an answer, where EOS stands.
        confidences: `(B, L)` float32, the probability that the network gave the token at that step.
        end_probabilities: `(B, L)` float32, the probability that it gave EOS there, at that step.
        answer_probabilities: `(B, C)` float32, with a pattern of C answers their probabilities, which sum to 1: those
            of the whole answers by the network's distributions in the first step, where nothing is committed.
        steps_made: `(B,)` int64, how many steps each row was denoised in; at most N.
        canvases: `(steps, B, L)` int64, the canvas after each step: the tokens committed up to then, and `[M]`
            elsewhere.
        num_predictions: How many steps were made: in each the network ran and every unfinished row committed a
            token.
    """

    sequences: torch.LongTensor
    commit_steps: torch.LongTensor | None = None
    confidences: torch.FloatTensor | None = None
    end_probabilities: torch.FloatTensor | None = None
    answer_probabilities: torch.FloatTensor | None = None
    steps_made: torch.LongTensor | None = None
    canvases: torch.LongTensor | None = None
    num_predictions: int | None = None


_PROMPT_ARGUMENTS = (
    "input_ids",
    "attention_mask",
    "pixel_values",
    "image_features",
    "image_sizes",
    "image_prefix",
    "canvas_lengths",
    "generator",
)


class GeoDiTGenerationMixin:
    """Gives a masked diffusion model `generate()`.

    It stands beside [`~transformers.GenerationMixin`] and does not derive from it, as the methods of that
    class (beam search, assisted decoding, key-value caches, transition scores) have no meaning for a canvas.
    `can_generate()` is true all the same, so `save_pretrained` writes `generation_config.json` and pipelines
    work.
    """

    config: GeoDiTConfig
    generation_config: GenerationConfig
    generation_config_class: type[GenerationConfig] = GeoDiTGenerationConfig
    output_modalities = ("text",)

    if TYPE_CHECKING:
        # What a model has besides, see [`MaskedDiffusionModel`].
        model: Network
        get_image_features: Callable[..., BaseModelOutputWithPooling]
        get_input_embeddings: Callable[[], nn.Embedding]
        get_output_embeddings: Callable[[], nn.Module]
        _modules: dict[str, nn.Module | None]

    @torch.no_grad()
    def encode_image(
        self,
        pixel_values: torch.Tensor,
        image_sizes: torch.Tensor | None = None,
        *,
        compile_step: bool | None = None,
    ) -> ImagePrefix:
        """Encode images once, to ask any number of questions about them.

        With `attention_mode="prefix"` the text core runs on them as well, so that a question costs no more than its
        own tokens; the answers are those of asking with the images. With `"full"` only the vision tower runs here.

        Args:
            pixel_values: `(images, 3, H, W)` or tiles, as the processor makes them.
            image_sizes: `(images, 2)`, height and width of the images, if `pixel_values` are tiles.
            compile_step: As for `generate()`; by default that of the model's `generation_config`.

        Returns:
            What `generate(image_prefix=...)` takes.
        """
        pixel_values = to_device(pixel_values, device_for(self, pixel_values))
        compiled = bool(first_given(compile_step, getattr(self.generation_config, "compile_step", False)))
        by_layer = why_not_by_layer(self) is None
        asked = asks_for_capture(getattr(self.generation_config, "capture_step", "auto"), pixel_values.device)
        features = pooled_features(
            encode_pixels(self, pixel_values, image_sizes, compiled=compiled, captured=by_layer and asked)
        )
        if self.config.attention_mode == "full":
            return ImagePrefix(features, None)
        rows = torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True)
        counts = [len(image) for image in features]
        position_ids = torch.arange(rows.shape[1], device=rows.device).expand(rows.shape[:2])
        valid = position_ids < index_on(rows.device, counts).unsqueeze(-1)
        cache = SegmentCache.empty(self.config.text_config.num_hidden_layers, len(valid), valid.shape[1], valid.device)
        embeds = rows.to(self.get_input_embeddings().weight.dtype)
        text_core = self.model.language_model
        if by_layer:
            run: RunLayer = compiled_layers_of(self).of(run_layer) if compiled else run_layer
            segment = Segment(embeds, position_ids, valid, len(set(counts)) == 1)
            width = head_dim(text_core)
            cache.reserve(self.config.text_config.num_key_value_heads, width, embeds.dtype)
            write_segment(text_core, run, cache, 0, segment, segment.is_full)
        else:
            cache.begin_segment(0, valid)
            text_core(inputs_embeds=embeds, position_ids=position_ids, cache=cache, num_outputs=0)
        return ImagePrefix(features, cache)

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        image_features: ImageFeatures | BaseModelOutputWithPooling | None = None,
        image_sizes: torch.LongTensor | None = None,
        image_prefix: ImagePrefix | None = None,
        canvas_lengths: Sequence[int] | torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        answer_pattern: AnswerPattern | None = None,
        stop_strings: str | Sequence[str] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        streamer: BaseStreamer | None = None,
        step_callback: Callable[[DenoisingState], None] | None = None,
        num_alternatives: int = 0,
        inputs: torch.LongTensor | None = None,
        **kwargs: object,
    ) -> torch.LongTensor | GeoDiTGenerateOutput:
        """Answer prompts by denoising a canvas after each of them.

        Rows do not see each other: a row's answer depends neither on its neighbours nor on padding. Random
        numbers, which only `temperature > 0` and `remasking="random"` use, come from a stream for each row:
        row r takes the r-th stream spawned from the seed, so it is the same in every batch where it stands at
        place r. To tie a stream to a row wherever it stands, give one generator a row.

        Nothing is computed whose result is not used: an image is encoded once, the vocabulary is projected to where
        a token is still masked, a row that is full or has an EOS with nothing masked before it leaves the batch, and
        with `attention_mode="prefix"` the network runs on image and prompt once (`use_cache`).

        Example:
            >>> from PIL import Image
            >>> from geodit import GeoDiTForMaskedDiffusion, GeoDiTProcessor, bundled_checkpoint
            >>> model = GeoDiTForMaskedDiffusion.from_pretrained(bundled_checkpoint())
            >>> processor = GeoDiTProcessor.from_pretrained(bundled_checkpoint())
            >>> image = Image.open("harbor.tif")
            >>> inputs = processor(images=image, text="How many ships are there?", task="vqa", return_tensors="pt")
            >>> output = model.generate(**inputs, max_new_tokens=8, return_dict_in_generate=True)
            >>> processor.decode_canvas(output.sequences[0, -8:])
            '2'
            >>> output.steps_made  # EOS came early: fewer than the 8 steps that are allowed
            tensor([2])

        Args:
            input_ids: `(B, P)` prompts, image placeholders included, padded on either side. On the CPU, like
                `pixel_values` and `attention_mask`, they are checked without waiting for the model's device.
            pixel_values: `(images, 3, H, W)` or tiles, as the processor makes them, in the order of their
                placeholders.
            attention_mask: `(B, P)`, 1 for real tokens and 0 for padding; by default all tokens are real.
            image_features: What `get_image_features` returned, in place of `pixel_values`.
            image_sizes: `(images, 2)`, height and width of the images, if `pixel_values` are tiles.
            image_prefix: What `encode_image` returned, in place of `pixel_values`, when several questions are asked:
                one image for all rows, or an image for each row. Every prompt begins with its placeholders.
            canvas_lengths: `(B,)`, the length of each row's canvas where rows differ; at most `max_new_tokens`. EOS
                stands after a shorter one.
            generation_config: Parameters in place of the model's own `generation_config`.
            generator: Source of random numbers, or one a row; excludes `seed`. With neither, the global one.
            streamer: Is given the prompts (`put`), the canvas after every step if it takes drafts (`put_draft`), the
                finished canvases (`put`), and the end, as [`~transformers.TextDiffusionStreamer`] expects them.
            answer_pattern: What every answer must look like, whatever the network says.
            stop_strings: Strings that end an answer: after the first that is found in the finished text EOS stands.
            tokenizer: Decodes the canvas to look for `stop_strings`.
            step_callback: Called after every step with the [`DenoisingState`], which it must not change. What it
                raises ends the call: nothing more is computed.
            num_alternatives: How many of the most probable tokens of each position the state keeps for it, see
                [`Alternatives`]. Above 0, steps do not have fixed shapes.
            inputs: `input_ids`, by the name that `generate()` of other models has for it.
            **kwargs: Fields of [`GeoDiTGenerationConfig`] that override the configuration for this call. `do_sample`
                and `max_length` are translated; other parameters of autoregressive decoding may be given where they
                do nothing (`num_beams=1`) and are refused by name where they would not.

        Returns:
            `(B, P + L)` int64, the prompts followed by the canvases, on the model's device, or a
            [`GeoDiTGenerateOutput`] when `return_dict_in_generate=True`.

        Raises:
            ValueError: for unknown or invalid parameters, tensors that do not fit together, or image
                placeholders that do not match the images.
        """
        if inputs is not None and input_ids is not None:
            raise ValueError("Give input_ids or inputs, which is another name for them, not both.")
        given_ids = input_ids if inputs is None else inputs
        plan = plan_decoding(
            self,
            generation_config,
            given_ids.shape[1] if given_ids is not None and given_ids.dim() == 2 else None,
            answer_pattern,
            stop_strings,
            tokenizer,
            **kwargs,
        )
        prompts = prepare_prompts(
            self,
            plan,
            given_ids,
            attention_mask,
            pixel_values=pixel_values,
            image_features=image_features,
            image_sizes=image_sizes,
            image_prefix=image_prefix,
            canvas_lengths=canvas_lengths,
            seed=plan.config.seed,
            generator=generator,
        )
        prompt_ids = cast(torch.Tensor, given_ids)
        canvases = []

        def begin() -> None:
            if streamer is not None:
                streamer.put(prompt_ids.long().cpu())

        def watch(state: DenoisingState) -> None:
            if plan.config.return_dict_in_generate:
                canvases.append(state.canvas.clone())
            if streamer is not None and hasattr(streamer, "put_draft"):
                streamer.put_draft(state.canvas.cpu())
            if step_callback is not None:
                step_callback(state)

        state = denoise_prompts(self, plan, prompts, begin, watch, _checked_count(num_alternatives))
        plan.stop(state)
        if streamer is not None:
            streamer.put(state.canvas.cpu())
            streamer.end()

        prompt_ids = to_device(prompt_ids.long(), state.canvas.device)
        sequences = cast(torch.LongTensor, torch.cat([prompt_ids, state.canvas], dim=1))
        if not plan.config.return_dict_in_generate:
            return sequences
        num_steps = state.step or int(state.steps_made.max())
        has_answers = plan.num_answers > 0
        return GeoDiTGenerateOutput(
            sequences=sequences,
            commit_steps=cast(torch.LongTensor, state.commit_steps),
            confidences=cast(torch.FloatTensor, state.confidences),
            end_probabilities=cast(torch.FloatTensor, state.end_probabilities),
            answer_probabilities=cast(torch.FloatTensor | None, state.answer_probabilities if has_answers else None),
            steps_made=cast(torch.LongTensor, state.steps_made),
            # Steps of fixed shapes may go on a little when all is done.
            canvases=cast(torch.LongTensor, torch.stack(canvases[:num_steps])),
            num_predictions=num_steps,
        )

    def generate_many(
        self,
        batches: Iterable[Mapping[str, object]],
        *,
        slots: int | None = None,
        generation_config: GenerationConfig | None = None,
        answer_pattern: AnswerPattern | None = None,
        stop_strings: str | Sequence[str] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        step_callback: Callable[[DenoisingState], None] | None = None,
        num_alternatives: int = 0,
        **kwargs: object,
    ) -> Iterator[FinishedAnswer]:
        """Answer more prompts than run at once: continuous batching.

        Where steps have fixed shapes (`capture_step`), a row that is finished makes room for the next prompt while
        the others go on; see [`slots_geodit`]. Elsewhere one batch follows the other. The answers are those of
        [`generate`]: with a seed, prompt r draws from the r-th stream spawned from it.

        Args:
            batches: What the processor returns for some prompts, on any device, and whatever else of the prompts
                [`generate`] takes: `image_prefix`, `image_features`, `canvas_lengths`, `generator`. A batch is taken
                when there is room for its first prompt.
            slots: Prompts that run at once where steps have fixed shapes; by default as many as the first batch has.
            generation_config: As for [`generate`].
            answer_pattern: Likewise.
            stop_strings: Likewise.
            tokenizer: Likewise.
            step_callback: Likewise, with the state of a batch; one batch then follows the other.
            num_alternatives: Likewise.
            **kwargs: Fields of [`GeoDiTGenerationConfig`], likewise; `max_length` cannot be given.

        Yields:
            The answers as they are finished, in any order; each has the number of its prompt.

        Raises:
            ValueError: as [`generate`] does, and if `slots` is not 1 or more.
        """
        if slots is not None and slots < 1:
            raise ValueError(f"slots must be 1 or more, but is {slots}.")
        plan = plan_decoding(self, generation_config, None, answer_pattern, stop_strings, tokenizer, **kwargs)
        queue = PromptQueue(self._prepare_all(plan, batches))
        if step_callback is None and not num_alternatives:
            return self._answer_all(plan, queue, slots)
        return self._answer_watched(plan, queue, step_callback or (lambda _: None), _checked_count(num_alternatives))

    @torch.no_grad()
    def _answer_watched(
        self, plan: DecodingPlan, queue: PromptQueue, watch: Callable[[DenoisingState], None], num_alternatives: int
    ) -> Iterator[FinishedAnswer]:
        while (prompts := queue.peek()) is not None:
            yield from self._answer(plan, queue.pop(len(prompts)), watch, num_alternatives)

    @torch.no_grad()
    def _answer_all(self, plan: DecodingPlan, queue: PromptQueue, slots: int | None) -> Iterator[FinishedAnswer]:
        while (prompts := queue.peek()) is not None:
            # Between refreshes all rows are at the same step.
            refreshes = self.config.attention_mode == "full" and plan.config.prefix_refresh_steps > 1
            if refreshes or not captures_steps(self, plan, prompts.state.canvas.device):
                yield from self._answer(plan, queue.pop(len(prompts)))
                continue
            slots = slots or len(prompts)
            loop = find_loop(self, plan, prompts, slots)
            with loop.use() as is_free:
                if is_free:
                    for numbers, state in denoise_in_slots(loop, queue):
                        plan.stop(state)
                        yield from FinishedAnswer.of_rows(numbers, state)
            if not is_free:
                yield from self._answer(plan, queue.pop(slots))

    def _answer(
        self,
        plan: DecodingPlan,
        prompts: WaitingPrompts,
        watch: Callable[[DenoisingState], None] = lambda _: None,
        num_alternatives: int = 0,
    ) -> list[FinishedAnswer]:
        """Answer a batch, one row as long as the others."""
        state = denoise_prompts(self, plan, prompts, watch=watch, num_alternatives=num_alternatives)
        plan.stop(state)
        on_cpu = state.with_tensors([value.cpu() for value in state.tensors])
        return FinishedAnswer.of_rows(list(range(prompts.first, prompts.first + len(prompts))), on_cpu)

    def _prepare_all(self, plan: DecodingPlan, batches: Iterable[Mapping[str, object]]) -> Iterator[WaitingPrompts]:
        """Yield the prompts of `generate_many`, one batch at a time."""
        source = None if plan.config.seed is None else torch.Generator().manual_seed(plan.config.seed)
        first = 0
        for batch in batches:
            if unknown := set(batch) - set(_PROMPT_ARGUMENTS):
                raise ValueError(
                    f"A batch of generate_many() has {', '.join(sorted(unknown))}, but may only have "
                    f"{', '.join(_PROMPT_ARGUMENTS)}."
                )
            if source is not None and batch.get("generator") is not None:
                raise ValueError("Give a seed or a generator, not both.")
            given: Arguments = {"input_ids": None, "generator": source, **batch, "first": first}
            prompts = prepare_prompts(self, plan, **given)
            first += len(prompts)
            yield prompts

    def adjust_generation_fn(
        self,
        generation_config: GenerationConfig | None,
        from_auto_class: bool,
        from_pipeline: str | None,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        proxies: dict[str, str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str = "main",
        subfolder: str = "",
        trust_remote_code: bool | None = None,
        **kwargs: object,
    ) -> None:
        """Set `generation_config`; `from_pretrained` calls this.

        [`~transformers.GenerationMixin`] would read the file as a plain `GenerationConfig` here. `kwargs` are
        what is left of the arguments of `from_pretrained`: changes to the model's configuration.
        """
        del trust_remote_code, kwargs
        if generation_config is not None:
            self.generation_config = GeoDiTGenerationConfig.from_generation_config(generation_config)
            return
        if pretrained_model_name_or_path is None:
            return
        try:
            self.generation_config = GeoDiTGenerationConfig.from_pretrained(
                pretrained_model_name_or_path,
                cache_dir=cache_dir,
                force_download=force_download,
                proxies=proxies,
                local_files_only=local_files_only,
                token=token,
                revision=revision,
                subfolder=subfolder,
                _from_auto=from_auto_class,
                _from_pipeline=from_pipeline,
            )
        except OSError:
            if (Path(pretrained_model_name_or_path) / subfolder / GENERATION_CONFIG_NAME).is_file():
                raise  # The file is there but cannot be read.
            logger.info("No %s: the model keeps the default generation parameters.", GENERATION_CONFIG_NAME)


def _checked_count(num_alternatives: int) -> int:
    if num_alternatives < 0:
        raise ValueError(f"num_alternatives must be 0 or more, but is {num_alternatives}.")
    return num_alternatives
