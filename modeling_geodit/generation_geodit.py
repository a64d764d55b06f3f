# SPDX-License-Identifier: Apache-2.0
"""`generate()`: denoising a canvas of `[M]` tokens behind a prompt.

The loop, [`denoise`], is made of three objects: a [`CanvasPredictor`] turns the canvas into logits (it alone
knows the network), a [`DecodingPolicy`] decides what to commit, and a [`DenoisingState`] holds what has been
committed so far.

Shapes: B batch, P prompt length, L canvas length, N denoising steps, n image tokens, d hidden size,
V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers.generation.configuration_utils import GenerationConfig
from transformers.generation.streamers import BaseStreamer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import GENERATION_CONFIG_NAME, logging
from transformers.utils.generic import ModelOutput

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.cache_geodit import ImagePrefix, SegmentCache
from geodit.modeling_geodit.compiled_layers_geodit import CompiledLayers, RunLayer
from geodit.modeling_geodit.compiled_predictor_geodit import CompiledPredictor
from geodit.modeling_geodit.decoding_geodit import RowStreams, build_decoding_policy
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.fixed_network_geodit import (
    FixedNetwork,
    FullNetwork,
    GuidedLogits,
    PrefixNetwork,
    RefreshedNetwork,
    round_up_places,
)
from geodit.modeling_geodit.fixed_step_geodit import BlockTables, CanvasLogitsOf, FixedStep
from geodit.modeling_geodit.host_copies_geodit import index_on, to_device
from geodit.modeling_geodit.layer_runs_geodit import run_layer, write_segment
from geodit.modeling_geodit.patterns_geodit import AnswerPattern
from geodit.modeling_geodit.predictors_geodit import (
    CanvasPredictor,
    EmbeddedPrompt,
    FullPredictor,
    GuidedPredictor,
    PrefixCachedPredictor,
    PromptBranch,
    RefreshedPredictor,
    Segment,
)
from geodit.modeling_geodit.schedules_geodit import Block, plan_blocks
from geodit.modeling_geodit.slots_geodit import FinishedAnswer, PromptQueue, WaitingPrompts, denoise_in_slots
from geodit.modeling_geodit.step_capture_geodit import (
    CapturedLoop,
    CapturedLoops,
    capture_cuda_graph,
    run_again,
    why_not_by_layer,
    why_not_captured,
)
from geodit.modeling_geodit.step_rules_geodit import StepRules
from geodit.modeling_geodit.stop_strings_geodit import StopStrings
from geodit.modeling_geodit.tower_runs_geodit import TowerByLayer, is_stock_tower, run_tower_layer

logger = logging.get_logger(__name__)

ImageFeatures = torch.Tensor | tuple[torch.Tensor, ...]
"""Encoded images: `(images, n, d)`, or one `(n_i, d)` an image where images differ in their number of features."""


def pooled_features(image_features: ImageFeatures | BaseModelOutputWithPooling) -> ImageFeatures:
    """The features of images themselves, given those or the output of `get_image_features` that holds them."""
    if isinstance(image_features, ModelOutput):
        return cast(ImageFeatures, image_features.pooler_output)
    return image_features


@dataclass
class GeoDiTGenerateOutput(ModelOutput):
    """What `generate(return_dict_in_generate=True)` returns.

    Args:
        sequences: `(B, P + L)` int64, the prompt as given, followed by the canvas.
        commit_steps: `(B, L)` int64, the step of its row, counted from 0, at which each token of the canvas was
            committed; -1 for what was never denoised: behind the end of a row or of an answer, where EOS stands.
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


def denoise(
    predictor: CanvasPredictor,
    rules: StepRules,
    state: DenoisingState,
    blocks: Iterable[Block],
    random: RowStreams | None = None,
    *,
    initial_length: int | None = None,
) -> Iterator[DenoisingState]:
    """Denoise a canvas in place, one step at a time.

    Every step runs the network once, on the rows that are not finished, and commits at least one token of each of
    them that has any masked in the block. A block that is full ends before its steps are used up.

    Args:
        predictor: Gives the logits.
        rules: Decide what to commit.
        state: The canvas to denoise.
        blocks: Blocks in the order in which they are denoised.
        random: Random numbers, for policies that draw.
        initial_length: The canvas starts with so many positions and ends from there on with the block that is being
            denoised; `None` for a canvas that is there as a whole.

    Yields:
        The same state, after each step.
    """
    for block in blocks:
        if initial_length is not None:
            state.stop = max(block.stop, initial_length)
        begins_block = True
        for steps_left in range(block.steps, 0, -1):
            masked, canvas = state.masked[state.rows], state.canvas[state.rows]
            wanted = torch.zeros_like(masked)
            wanted[:, block.start : block.stop] = masked[:, block.start : block.stop]
            if not wanted.any():
                break
            logits = predictor(
                canvas[:, : state.stop],
                state.valid[state.rows],
                wanted[:, : state.stop],
                begins_block=begins_block,
            )
            begins_block = False
            if state.step == 0:
                probabilities = rules.answer_probabilities(logits, canvas, masked, wanted)
                if probabilities is not None:
                    state.answer_probabilities.copy_(probabilities)
            numbers = None if random is None else random.at(state.steps_made[state.rows])
            state.commit(rules.decide(logits, canvas, masked, wanted, steps_left, numbers), state.rows)
            state.step += 1
            if rules.ends_answers:
                state.end_answers(rules.eos_token_ids)
            state.finish_rows(rules.eos_token_ids)
            active = state.active.tolist()
            going_on = [index for index, row in enumerate(state.rows) if active[row]]
            if going_on and len(going_on) < len(state.rows):
                predictor.keep_rows(going_on)
                random = None if random is None else random.take(going_on)
            state.rows = [state.rows[index] for index in going_on]
            yield state
            if not going_on:
                return


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


@dataclass(frozen=True)
class _Plan:
    """How prompts are answered, whatever they are.

    Args:
        config: The parameters.
        rules: Decide what to commit.
        blocks: The blocks of the canvas.
        mask_token_id: Id of `[M]`.
        fill: The token behind the end of a shorter canvas.
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


class GeoDiTGenerationMixin:
    """Gives a masked diffusion model `generate()`.

    It stands beside [`~transformers.GenerationMixin`] and does not derive from it, as the methods of that
    class (beam search, assisted decoding, key-value caches, transition scores) have no meaning for a canvas.
    `can_generate()` is true all the same, so `save_pretrained` writes `generation_config.json` and pipelines
    work.
    """

    config: Any
    generation_config: Any
    generation_config_class: type[GenerationConfig] = GeoDiTGenerationConfig
    output_modalities = ("text",)

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
        model: Any = self
        pixel_values = to_device(pixel_values, self._device_for(pixel_values))
        compiled = bool(_first_given(compile_step, getattr(self.generation_config, "compile_step", False)))
        features: Any = self._image_outputs(pixel_values, image_sizes, compiled).pooler_output
        if self.config.attention_mode == "full":
            return ImagePrefix(features, None)
        rows = torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True)
        counts = [len(image) for image in features]
        position_ids = torch.arange(rows.shape[1], device=rows.device).expand(rows.shape[:2])
        valid = position_ids < index_on(rows.device, counts).unsqueeze(-1)
        cache = SegmentCache.empty(self.config.text_config.num_hidden_layers, len(valid), valid.shape[1], valid.device)
        embeds = rows.to(model.get_input_embeddings().weight.dtype)
        text_core = model.model.language_model
        if why_not_by_layer(self) is None:
            run: RunLayer = self._compiled_layers.of(run_layer) if compiled else run_layer
            segment = Segment(embeds, position_ids, valid, len(set(counts)) == 1)
            width = text_core.layers[0].self_attn.head_dim
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
        tokenizer: Any = None,
        streamer: BaseStreamer | None = None,
        step_callback: Callable[[DenoisingState], None] | None = None,
        inputs: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> torch.LongTensor | GeoDiTGenerateOutput:
        """Answer prompts by denoising a canvas behind each of them.

        Rows do not see each other: a row's answer depends neither on its neighbours nor on padding. Random
        numbers, which only `temperature > 0` and `remasking="random"` use, come from a stream for each row:
        row r takes the r-th stream spawned from the seed, so it is the same in every batch where it stands at
        place r. To tie a stream to a row wherever it stands, give one generator a row.

        Nothing is computed whose result is not used: an image is encoded once, the vocabulary is projected to where
        a token is still masked, a row that is full or has an EOS with nothing masked before it leaves the batch, and
        with `attention_mode="prefix"` the network runs on image and prompt once (`use_cache`).

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
                stands behind a shorter one.
            generation_config: Parameters in place of the model's own `generation_config`.
            generator: Source of random numbers, or one a row; excludes `seed`. With neither, the global one.
            streamer: Is given the prompts (`put`), the canvas after every step if it takes drafts (`put_draft`), the
                finished canvases (`put`), and the end, as [`~transformers.TextDiffusionStreamer`] expects them.
            answer_pattern: What every answer must look like, whatever the network says.
            stop_strings: Strings that end an answer: behind the first that is found in the finished text EOS stands.
            tokenizer: Decodes the canvas to look for `stop_strings`.
            step_callback: Called after every step with the [`DenoisingState`], which it must not change.
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
        plan = self._plan(
            generation_config,
            given_ids.shape[1] if given_ids is not None and given_ids.dim() == 2 else None,
            answer_pattern,
            stop_strings,
            tokenizer,
            **kwargs,
        )
        prompts = self._prepare(
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

        state = self._denoise(plan, prompts, begin, watch)
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
        batches: Iterable[Mapping[str, Any]],
        *,
        slots: int | None = None,
        generation_config: GenerationConfig | None = None,
        answer_pattern: AnswerPattern | None = None,
        stop_strings: str | Sequence[str] | None = None,
        tokenizer: Any = None,
        **kwargs: Any,
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
            **kwargs: Fields of [`GeoDiTGenerationConfig`], likewise; `max_length` cannot be given.

        Yields:
            The answers as they are finished, in any order; each has the number of its prompt.

        Raises:
            ValueError: as [`generate`] does, and if `slots` is not 1 or more.
        """
        if slots is not None and slots < 1:
            raise ValueError(f"slots must be 1 or more, but is {slots}.")
        plan = self._plan(generation_config, None, answer_pattern, stop_strings, tokenizer, **kwargs)
        return self._answer_all(plan, PromptQueue(self._prepare_all(plan, batches)), slots)

    @torch.no_grad()
    def _answer_all(self, plan: _Plan, queue: PromptQueue, slots: int | None) -> Iterator[FinishedAnswer]:
        while (prompts := queue.peek()) is not None:
            # Between refreshes all rows are at the same step.
            refreshes = self.config.attention_mode == "full" and plan.config.prefix_refresh_steps > 1
            if refreshes or not self._captures(plan.config, prompts.state.canvas.device):
                yield from self._answer(plan, queue.pop(len(prompts)))
                continue
            slots = slots or len(prompts)
            loop = self._find_loop(plan, prompts, slots)
            with loop.use() as is_free:
                if is_free:
                    for numbers, state in denoise_in_slots(loop, queue):
                        plan.stop(state)
                        yield from FinishedAnswer.of_rows(numbers, state)
            if not is_free:
                yield from self._answer(plan, queue.pop(slots))

    def _answer(self, plan: _Plan, prompts: WaitingPrompts) -> list[FinishedAnswer]:
        """Answer a batch, one row as long as the others."""
        state = self._denoise(plan, prompts)
        plan.stop(state)
        on_cpu = state.with_tensors([value.cpu() for value in state.tensors])
        return FinishedAnswer.of_rows(list(range(prompts.first, prompts.first + len(prompts))), on_cpu)

    def _prepare_all(self, plan: _Plan, batches: Iterable[Mapping[str, Any]]) -> Iterator[WaitingPrompts]:
        """The prompts of `generate_many`, one batch after the other."""
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
            given: dict[str, Any] = {"input_ids": None, "generator": source, **batch, "first": first}
            prompts = self._prepare(plan, **given)
            first += len(prompts)
            yield prompts

    def _plan(
        self,
        generation_config: GenerationConfig | None,
        prompt_length: int | None,
        answer_pattern: AnswerPattern | None,
        stop_strings: str | Sequence[str] | None,
        tokenizer: Any,
        **kwargs: Any,
    ) -> _Plan:
        """How prompts are answered, whatever they are; arguments as in [`generate`]."""
        config = GeoDiTGenerationConfig.from_generation_config(
            self.generation_config if generation_config is None else generation_config,
            prompt_length=prompt_length,
            **kwargs,
        )
        mask_token_id = cast(int, _first_given(config.mask_token_id, self.config.mask_token_id))
        eos = _first_given(config.eos_token_id, self.config.eos_token_id)
        eos_token_ids = [] if eos is None else [eos] if isinstance(eos, int) else list(eos)
        placeholders = [mask_token_id, self.config.image_token_id]
        self._check_token_ids(
            mask_token_id=[mask_token_id],
            eos_token_id=eos_token_ids,
            pad_token_id=[] if config.pad_token_id is None else [config.pad_token_id],
            suppress_tokens=config.suppress_tokens or [],
        )
        stopping = None if stop_strings is None else StopStrings(stop_strings, tokenizer)
        if stopping is not None and not eos_token_ids:
            raise ValueError("stop_strings need an eos_token_id, which stands behind the end of an answer.")
        policy = build_decoding_policy(config, [token for token in placeholders if token is not None])
        rules = StepRules(policy, tuple(eos_token_ids), config.fill_after_eos, answer_pattern, config.temperature)
        fill = (
            eos_token_ids[0]
            if eos_token_ids
            else int(_first_given(config.pad_token_id, self.config.pad_token_id) or 0)
        )
        blocks = plan_blocks(
            config.max_new_tokens, config.block_length, config.max_denoising_steps, config.initial_canvas_length
        )
        return _Plan(config, rules, blocks, mask_token_id, fill, stopping)

    def _prepare(
        self,
        plan: _Plan,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
        *,
        pixel_values: torch.Tensor | None = None,
        image_features: ImageFeatures | BaseModelOutputWithPooling | None = None,
        image_sizes: torch.Tensor | None = None,
        image_prefix: ImagePrefix | None = None,
        canvas_lengths: Sequence[int] | torch.Tensor | None = None,
        seed: int | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        first: int = 0,
    ) -> WaitingPrompts:
        """Embed prompts, and make their canvases; arguments as in [`generate`]."""
        given = {"pixel_values": pixel_values, "image_features": image_features, "image_prefix": image_prefix}
        prompt_ids, prompt_mask = self._check_inputs(input_ids, attention_mask, image_sizes, given)
        device = self._device_for(cast(torch.Tensor, input_ids))
        if pixel_values is not None:
            pixel_values = to_device(pixel_values, self._device_for(pixel_values))
            image_features = self._image_outputs(pixel_values, image_sizes, plan.config.compile_step)
        features = None if image_features is None else pooled_features(image_features)

        config, rules = plan.config, plan.rules
        batch_size = len(prompt_ids)
        random = None
        if rules.policy.draws:
            random = RowStreams.spawn(batch_size, device, seed=seed, generator=generator)
        lengths = _check_canvas_lengths(canvas_lengths, config.max_new_tokens, batch_size)
        if rules.pattern is not None:
            rules.pattern.check_canvases(lengths.tolist(), rules.eos_token_ids)
        branches = self._embed_prompts(
            config, prompt_ids, prompt_mask.bool(), features, image_prefix, plan.mask_token_id, device
        )
        state = DenoisingState.fully_masked(
            to_device(lengths, device), config.max_new_tokens, plan.mask_token_id, plan.fill, plan.num_answers
        )
        return WaitingPrompts(first, tuple(branches), state, random)

    def _denoise(
        self,
        plan: _Plan,
        prompts: WaitingPrompts,
        begin: Callable[[], None] = lambda: None,
        watch: Callable[[DenoisingState], None] = lambda _: None,
    ) -> DenoisingState:
        """Denoise by the loop that a configuration asks for.

        `begin` is called when image and prompt have been run, `watch` after each step.
        """
        config, state, random = plan.config, prompts.state, prompts.random
        if self._captures(config, state.canvas.device):
            loop = self._find_loop(plan, prompts, len(prompts))
            denoised = loop.denoise(prompts.branches, state, random, begin, watch)
            if denoised is not None:
                return denoised
        predictor = self._make_predictor(config, prompts.branches)
        begin()
        steps = denoise(predictor, plan.rules, state, plan.blocks, random, initial_length=config.initial_canvas_length)
        for _ in steps:
            watch(state)
        return state

    def _find_loop(self, plan: _Plan, prompts: WaitingPrompts, num_rows: int) -> CapturedLoop:
        """The loop of these shapes and this policy, one of those that the model keeps."""
        config, rules, canvas = plan.config, plan.rules, prompts.state.canvas
        network_class: type[PrefixNetwork | FullNetwork] = PrefixNetwork
        if self.config.attention_mode == "full":
            network_class = FullNetwork if config.prefix_refresh_steps == 1 else RefreshedNetwork
        longest = max(network_class.places_of(branch) for branch in prompts.branches)
        places = round_up_places(longest)
        key = (
            *(num_rows, canvas.shape[1], canvas.device, places, network_class, len(prompts.branches)),
            *(plan.blocks, config.initial_canvas_length, config.guidance_scale),
            *(config.compile_step, config.prefix_refresh_steps),
            *(config.remasking, config.confidence_threshold, config.entropy_bound, config.temperature),
            *(rules.policy.suppress_tokens, rules.eos_token_ids, rules.fill_after_eos, rules.pattern),
        )

        def make() -> CapturedLoop:
            run: RunLayer = self._compiled_layers.of(run_layer) if config.compile_step else run_layer
            networks = [
                network_class(self, num_rows, places, canvas.shape[1], run) for _ in range(len(prompts.branches))
            ]
            return self._make_loop(plan, networks, num_rows, canvas.device)

        loops: CapturedLoops = self.__dict__.setdefault("_captured_loops", CapturedLoops())
        return loops.find(key, cast(torch.nn.Module, self), make)

    def _captures(self, config: GeoDiTGenerationConfig, device: torch.device) -> bool:
        """Whether steps of fixed shapes are taken. Where they are asked for in vain, a warning says why."""
        if config.capture_step is False or (config.capture_step == "auto" and device.type != "cuda"):
            return False
        blocks = plan_blocks(
            config.max_new_tokens, config.block_length, config.max_denoising_steps, config.initial_canvas_length
        )
        reason = why_not_captured(
            self, self.config.attention_mode, config.use_cache, config.prefix_refresh_steps, len(blocks)
        )
        if reason is not None and config.capture_step is True:
            logger.warning_once(f"capture_step=True is without effect: {reason}.")
        return reason is None

    def _embed_prompts(
        self,
        config: GeoDiTGenerationConfig,
        prompt_ids: torch.Tensor,
        prompt_mask: torch.Tensor,
        image_features: ImageFeatures | None,
        image_prefix: ImagePrefix | None,
        mask_token_id: int,
        device: torch.device,
    ) -> list[PromptBranch]:
        """The prompts on a device, and with guidance those that say nothing.

        Arguments are as in [`generate`], ids and mask on the CPU: what the host has to know is looked at there.
        """
        is_image = (prompt_ids == _first_given(self.config.image_token_id, -1)) & prompt_mask
        image_rows = None
        if image_prefix is not None:
            rows = _match_image_rows(image_prefix, is_image, prompt_mask)
            if image_prefix.cache is None or not config.use_cache:
                image_features = tuple(image_prefix.features[row] for row in rows)
                image_prefix = None
            else:
                image_rows = index_on(device, rows)
        model: Any = self
        embed_tokens = model.get_input_embeddings()
        lengths, images = prompt_mask.sum(-1).tolist(), is_image.sum(-1).tolist()
        counts = tuple((count, length - count) for length, count in zip(lengths, images, strict=True))
        ids, valid, is_image = (to_device(grid, device) for grid in (prompt_ids, prompt_mask, is_image))
        embeds = embed_tokens(ids)
        if image_features is not None:
            embeds = model.model.place_image_features(prompt_ids, embeds, image_features)
        branches = [PromptBranch(EmbeddedPrompt(embeds, valid, is_image, counts), image_prefix, image_rows)]
        if config.guidance_scale != 1:
            # It sees [M] for every token of the prompt, image placeholders included, and therefore no image.
            nothing = embed_tokens(torch.full_like(ids, mask_token_id))
            counts = tuple((0, length) for length in lengths)
            branches.append(PromptBranch(EmbeddedPrompt(nothing, valid, torch.zeros_like(is_image), counts)))
        return branches

    def _device_for(self, given: torch.Tensor) -> torch.device:
        """Where a tensor belongs that was given: with the model if it comes from the CPU, else where it is."""
        embed_tokens = cast(Any, self).get_input_embeddings()
        if given.device.type != "cpu" or hasattr(embed_tokens, "_hf_hook"):  # hooks move what they are given
            return given.device
        return cast(torch.device, next(embed_tokens.parameters()).device)

    def _make_predictor(self, config: GeoDiTGenerationConfig, branches: Sequence[PromptBranch]) -> CanvasPredictor:
        """The predictor that a configuration asks for."""
        if config.compile_step and not (config.use_cache and self.config.attention_mode == "prefix"):
            raise ValueError('compile_step=True needs attention_mode="prefix" and use_cache=True.')
        model: Any = self
        reason = why_not_by_layer(self) if config.compile_step else None
        if reason is not None:
            logger.warning_once(f"compile_step=True is without effect: {reason}.")

        def predictor_of(branch: PromptBranch) -> CanvasPredictor:
            canvas_length = config.max_new_tokens
            if self.config.attention_mode == "full":
                if config.prefix_refresh_steps == 1:
                    return FullPredictor(model, branch.prompt)
                return RefreshedPredictor(model, branch.prompt, canvas_length, config.prefix_refresh_steps)
            if not config.use_cache:
                return FullPredictor(model, branch.prompt)
            if config.compile_step and reason is None:
                return CompiledPredictor(model, branch, canvas_length, self._compiled_layers.of(run_layer))
            return PrefixCachedPredictor(model, branch, canvas_length)

        conditional, *unconditional = [predictor_of(branch) for branch in branches]
        if not unconditional:
            return conditional
        return GuidedPredictor(conditional, unconditional[0], config.guidance_scale)

    @property
    def _compiled_layers(self) -> CompiledLayers:
        """What the model keeps of compiled code, for all calls."""
        layers: CompiledLayers = self.__dict__.setdefault("_kept_compiled_layers", CompiledLayers())
        return layers

    def _image_outputs(
        self, pixel_values: torch.Tensor, image_sizes: torch.Tensor | None, compiled: bool
    ) -> BaseModelOutputWithPooling:
        """What `get_image_features` returns, by one compiled layer of the tower where that can be."""
        model: Any = self
        tower = model.model.vision_tower
        if not (compiled and is_stock_tower(tower)):
            return cast(
                BaseModelOutputWithPooling, model.get_image_features(pixel_values, image_sizes, return_dict=True)
            )
        by_layer = TowerByLayer(tower, self._compiled_layers.of(run_tower_layer))
        return cast(BaseModelOutputWithPooling, model.model.encode_by(by_layer, pixel_values, image_sizes))

    def _make_loop(
        self, plan: _Plan, networks: Sequence[FixedNetwork], num_rows: int, device: torch.device
    ) -> CapturedLoop:
        """The loop of fixed shapes that a plan asks for, with memory of its own."""
        config = plan.config

        def guided(ways: Sequence[CanvasLogitsOf]) -> CanvasLogitsOf:
            return ways[0] if len(ways) == 1 else GuidedLogits(ways[0], ways[1], config.guidance_scale)

        random = None
        if plan.rules.policy.draws:
            random = RowStreams(torch.zeros(num_rows, dtype=torch.long, device=device))
        tables = BlockTables(plan.blocks, config.initial_canvas_length, device)
        lengths = torch.full((num_rows,), config.max_new_tokens, device=device)
        state = DenoisingState.fully_masked(
            lengths, config.max_new_tokens, plan.mask_token_id, plan.fill, plan.num_answers
        )
        step = FixedStep(guided(networks), plan.rules, tables, num_rows, random)
        capture = capture_cuda_graph if device.type == "cuda" else run_again
        ways = [network.between for network in networks if isinstance(network, RefreshedNetwork)]
        between = step.by(guided(ways)) if ways else None
        refresh_steps = config.prefix_refresh_steps if ways else 1
        return CapturedLoop(networks, state, random, step, tables.num_steps, capture, between, refresh_steps)

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
        **kwargs: Any,
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

    def _check_token_ids(self, **ids: Sequence[int]) -> None:
        """Refuse ids that the vocabulary does not have; a generation configuration is not checked against a model."""
        vocab_size = self.config.text_config.vocab_size
        for name, values in ids.items():
            if outside := [value for value in values if not 0 <= value < vocab_size]:
                raise ValueError(f"{name} has {outside[0]}, but the vocabulary has the ids 0 to {vocab_size - 1}.")

    def _check_inputs(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        image_sizes: torch.Tensor | None,
        images: dict[str, Any],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Refuse what does not fit together; return prompts and attention mask, both `(B, P)` int64 on the CPU."""
        if input_ids is None:
            raise ValueError("generate() needs input_ids (B, P): make them with the processor.")
        if input_ids.dim() != 2 or input_ids.is_floating_point() or input_ids.shape[0] == 0:
            raise ValueError(
                "input_ids must be integers of shape (B, P) with B > 0, but are "
                f"{input_ids.dtype} of shape {tuple(input_ids.shape)}."
            )
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        elif attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask has shape {tuple(attention_mask.shape)}, but input_ids "
                f"{tuple(input_ids.shape)}: it covers the prompt alone, the canvas is added by generate()."
            )
        given = [name for name, value in images.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"Give {' or '.join(given)}, not both.")
        if image_sizes is not None and "pixel_values" not in given:
            raise ValueError("image_sizes describe pixel_values: give both or neither.")
        # If they are on a device, this is the one time that it is waited for.
        input_ids, attention_mask = torch.stack([input_ids.long(), attention_mask.to(input_ids.device).long()]).cpu()
        if not given and self.config.image_token_id is not None:
            placeholders = int((input_ids == self.config.image_token_id).sum())
            if placeholders:
                raise ValueError(f"input_ids hold {placeholders} image placeholders, but no pixel_values were given.")
        return input_ids, attention_mask


def _first_given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _check_canvas_lengths(
    canvas_lengths: Sequence[int] | torch.Tensor | None, max_new_tokens: int, batch_size: int
) -> torch.Tensor:
    if canvas_lengths is None:
        return torch.full((batch_size,), max_new_tokens)
    lengths = torch.as_tensor(canvas_lengths)
    if lengths.shape != (batch_size,) or lengths.is_floating_point():
        raise ValueError(f"canvas_lengths must be {batch_size} integers, one a row, but are {canvas_lengths}.")
    if not ((lengths >= 1) & (lengths <= max_new_tokens)).all():
        raise ValueError(f"canvas_lengths must be from 1 to max_new_tokens={max_new_tokens}: {lengths.tolist()}.")
    return lengths.long()


def _match_image_rows(image_prefix: ImagePrefix, is_image: torch.Tensor, prompt_mask: torch.Tensor) -> list[int]:
    """The image of each row. Every prompt must begin with the placeholders of just that image."""
    batch_size, num_images = len(is_image), image_prefix.num_images
    if num_images not in (1, batch_size):
        raise ValueError(
            f"image_prefix holds {num_images} images for {batch_size} prompts: give one for all, or one for each."
        )
    rows = [row % num_images for row in range(batch_size)]
    expected = torch.tensor(image_prefix.lengths)[rows]
    order = prompt_mask.long().cumsum(-1) - 1
    begins_with_image = (prompt_mask & (order < expected.unsqueeze(-1))) == is_image
    if not begins_with_image.all():
        raise ValueError(
            "With image_prefix every prompt begins with the placeholders of its one image: "
            f"{expected.tolist()} of them in these rows, but {is_image.sum(-1).tolist()} were found or not in front."
        )
    return rows


__all__ = [
    "DenoisingState",
    "FinishedAnswer",
    "GeoDiTGenerateOutput",
    "GeoDiTGenerationMixin",
    "ImageFeatures",
    "denoise",
    "pooled_features",
]
