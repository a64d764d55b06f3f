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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from transformers.configuration_utils import PreTrainedConfig
from transformers.generation.configuration_utils import GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME, logging
from transformers.utils.generic import ModelOutput

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.decoding_geodit import (
    Block,
    Decision,
    DecodingPolicy,
    RowGenerators,
    build_decoding_policy,
    plan_blocks,
)

logger = logging.get_logger(__name__)

ImageFeatures = torch.Tensor | tuple[torch.Tensor, ...]
"""Encoded images: `(images, n, d)`, or one `(n_i, d)` an image where images differ in their number of features."""


@dataclass
class GeoDiTGenerateOutput(ModelOutput):
    """What `generate(return_dict_in_generate=True)` returns.

    Args:
        sequences: `(B, P + L)` int64, the prompt as given, followed by the canvas.
        commit_steps: `(B, L)` int64, the step, counted from 0, at which each token of the canvas was
            committed.
        confidences: `(B, L)` float32, the probability that the network gave the token at that step.
        canvases: `(N, B, L)` int64, the canvas after each step: `canvases[s]` holds the tokens whose
            `commit_steps` is at most s, and `[M]` elsewhere.
        num_predictions: In how many of the N steps the network ran. Where no row commits a token it does not.
    """

    sequences: torch.LongTensor
    commit_steps: torch.LongTensor | None = None
    confidences: torch.FloatTensor | None = None
    canvases: torch.LongTensor | None = None
    num_predictions: int | None = None


class MaskedDiffusionModel(Protocol):
    """What generation asks of the network; `GeoDiTForMaskedDiffusion` provides it."""

    config: PreTrainedConfig

    def __call__(self, **kwargs: Any) -> Any:
        """Run `forward`; the output has `logits`."""

    def get_image_features(
        self, pixel_values: torch.FloatTensor, image_sizes: torch.LongTensor | None = None
    ) -> ImageFeatures:
        """Encode images."""


@dataclass
class DenoisingState:
    """The canvas and its history.

    Args:
        canvas: `(B, L)` int64, `[M]` where nothing has been committed.
        commit_steps: `(B, L)` int64, -1 where nothing has been committed.
        confidences: `(B, L)` float32, 0 where nothing has been committed.
        step: How many steps have been made.
        num_predictions: In how many of them the network ran.
    """

    canvas: torch.Tensor
    commit_steps: torch.Tensor
    confidences: torch.Tensor
    step: int = 0
    num_predictions: int = 0

    @classmethod
    def fully_masked(
        cls, batch_size: int, canvas_length: int, mask_token_id: int, device: torch.device
    ) -> DenoisingState:
        """The state that denoising starts from."""
        shape = (batch_size, canvas_length)
        return cls(
            canvas=torch.full(shape, mask_token_id, dtype=torch.long, device=device),
            commit_steps=torch.full(shape, -1, dtype=torch.long, device=device),
            confidences=torch.zeros(shape, dtype=torch.float32, device=device),
        )

    @property
    def masked(self) -> torch.Tensor:
        """`(B, L)` bool, true where nothing has been committed."""
        return self.commit_steps < 0

    def commit(self, block: Block, decision: Decision) -> None:
        """Write this step's decision about a block into the canvas, in place."""
        positions = slice(block.start, block.stop)
        transfer = decision.transfer
        self.canvas[:, positions][transfer] = decision.tokens[transfer]
        self.commit_steps[:, positions][transfer] = self.step
        self.confidences[:, positions][transfer] = decision.confidence[transfer].float()


class CanvasPredictor:
    """Logits of a block of the canvas behind a fixed prompt.

    Images arrive encoded, so a step runs the text core alone, and the vocabulary projection runs only where a
    token may still be committed.

    Args:
        model: The network.
        input_ids: `(B, P)`, the prompts.
        attention_mask: `(B, P)`, 1 for real tokens and 0 for padding.
        image_features: The encoded images, in the order of their placeholders in `input_ids`.
        mask_token_id: Id of `[M]`.
        guidance_scale: With a scale w above 1 the logits are `unconditional + w * (conditional -
            unconditional)`. The unconditional branch sees `[M]` for every token of the prompt, image
            placeholders included, and therefore no image; its padding stays padding.
    """

    def __init__(
        self,
        model: MaskedDiffusionModel,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        image_features: ImageFeatures | None,
        mask_token_id: int,
        guidance_scale: float = 1.0,
    ) -> None:
        self._model = model
        self._guidance_scale = guidance_scale
        self._image_features = image_features
        if guidance_scale > 1:
            # Both branches run as one batch. Image features are placed in order: they go to the first half.
            input_ids = torch.cat([input_ids, torch.full_like(input_ids, mask_token_id)])
            attention_mask = torch.cat([attention_mask, attention_mask])
        self._prompt_ids = input_ids
        self._prompt_mask = attention_mask

    def __call__(self, canvas: torch.Tensor, block: Block) -> torch.Tensor:
        """Predict a block.

        Args:
            canvas: `(B, L)` int64.
            block: The block to predict.

        Returns:
            `(B, block length, V)` float32 on the canvas's device.
        """
        prompt_length = self._prompt_ids.shape[1]
        branches = canvas.repeat(self._prompt_ids.shape[0] // canvas.shape[0], 1)
        input_ids = torch.cat([self._prompt_ids, branches], dim=1)
        canvas_mask = torch.zeros_like(input_ids, dtype=torch.bool)
        canvas_mask[:, prompt_length:] = True
        block_mask = torch.zeros_like(canvas_mask)
        block_mask[:, prompt_length + block.start : prompt_length + block.stop] = True
        outputs = self._model(
            input_ids=input_ids,
            image_features=self._image_features,
            attention_mask=torch.cat([self._prompt_mask, torch.ones_like(branches)], dim=1),
            canvas_mask=canvas_mask,
            logits_to_keep=block_mask,
        )
        logits: torch.Tensor = outputs.logits.to(canvas.device, torch.float32)
        logits = logits.view(input_ids.shape[0], block.stop - block.start, -1)
        if self._guidance_scale > 1:
            conditional, unconditional = logits.chunk(2)
            logits = unconditional + self._guidance_scale * (conditional - unconditional)
        return logits


def denoise(
    predictor: CanvasPredictor,
    policy: DecodingPolicy,
    state: DenoisingState,
    blocks: Iterable[Block],
    random: RowGenerators | None = None,
) -> Iterator[DenoisingState]:
    """Denoise a canvas in place, one step at a time.

    Args:
        predictor: Gives the logits.
        policy: Decides what to commit.
        state: The canvas to denoise.
        blocks: Blocks in the order in which they are denoised.
        random: Random numbers, for policies that draw.

    Yields:
        The same state, after each of the N steps.
    """
    for block in blocks:
        for steps_left in range(block.steps, 0, -1):
            num_masked = state.masked[:, block.start : block.stop].sum(-1)
            num_transfer = policy.schedule.num_transfer(num_masked, steps_left)
            # A step that commits nothing would leave the canvas as it is: the network need not run.
            if num_transfer.any():
                denoise_step(predictor, policy, state, block, num_transfer, random)
            state.step += 1
            yield state


def denoise_step(
    predictor: CanvasPredictor,
    policy: DecodingPolicy,
    state: DenoisingState,
    block: Block,
    num_transfer: torch.Tensor,
    random: RowGenerators | None = None,
) -> None:
    """Predict a block, decide, and commit to the state, in place.

    Args:
        predictor: Gives the logits.
        policy: Decides what to commit.
        state: The canvas so far.
        block: The block being denoised.
        num_transfer: `(B,)` int64, the tokens to commit in each row at least.
        random: Random numbers, for policies that draw.
    """
    logits = predictor(state.canvas, block)
    masked = state.masked[:, block.start : block.stop]
    state.commit(block, policy.decide(logits[masked], masked, num_transfer, random))
    state.num_predictions += 1


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
    def generate(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        image_features: ImageFeatures | None = None,
        image_sizes: torch.LongTensor | None = None,
        generation_config: GenerationConfig | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        **kwargs: Any,
    ) -> torch.LongTensor | GeoDiTGenerateOutput:
        """Answer prompts by denoising a canvas behind each of them.

        Rows do not see each other: a row's answer depends neither on its neighbours nor on padding. Random
        numbers, which only `temperature > 0` and `remasking="random"` use, come from a stream for each row:
        row r takes the r-th stream spawned from the seed, so it is the same in every batch where it stands at
        place r. To tie a stream to a row wherever it stands, give one generator a row.

        Args:
            input_ids: `(B, P)` prompts, image placeholders included, padded on either side.
            pixel_values: `(images, 3, H, W)` or tiles, as the processor makes them, in the order of their
                placeholders.
            attention_mask: `(B, P)`, 1 for real tokens and 0 for padding; by default all tokens are real.
            image_features: What `get_image_features` returned, in place of `pixel_values`, when several questions
                are asked about the same images.
            image_sizes: `(images, 2)`, height and width of the images, if `pixel_values` are tiles.
            generation_config: Parameters in place of the model's own `generation_config`.
            generator: Source of random numbers, or one a row; excludes `seed`. With neither, the global one.
            **kwargs: Fields of [`GeoDiTGenerationConfig`] that override the configuration for this call.

        Returns:
            `(B, P + L)` int64, the prompts followed by the canvases, or a [`GeoDiTGenerateOutput`] when
            `return_dict_in_generate=True`.

        Raises:
            ValueError: for unknown or invalid parameters, tensors that do not fit together, or image
                placeholders that do not match the images.
        """
        model = cast(MaskedDiffusionModel, self)
        config = GeoDiTGenerationConfig.from_generation_config(
            self.generation_config if generation_config is None else generation_config, **kwargs
        )
        prompt_ids, prompt_mask = self._check_inputs(
            input_ids, attention_mask, pixel_values, image_features, image_sizes
        )
        if pixel_values is not None:
            image_features = model.get_image_features(pixel_values, image_sizes)

        batch_size, device = prompt_ids.shape[0], prompt_ids.device
        mask_token_id = config.mask_token_id
        if mask_token_id is None:
            mask_token_id = cast(int, self.config.mask_token_id)
        placeholders = [mask_token_id, self.config.image_token_id]
        policy = build_decoding_policy(config, [token for token in placeholders if token is not None])
        random = None
        if policy.draws:
            random = RowGenerators.spawn(batch_size, device, seed=config.seed, generator=generator)
        predictor = CanvasPredictor(
            model, prompt_ids, prompt_mask, image_features, mask_token_id, config.guidance_scale
        )
        state = DenoisingState.fully_masked(batch_size, config.max_new_tokens, mask_token_id, device)
        blocks = plan_blocks(config.max_new_tokens, config.block_length, config.max_denoising_steps)
        canvases = [state.canvas.clone() for _ in denoise(predictor, policy, state, blocks, random)]

        sequences = cast(torch.LongTensor, torch.cat([prompt_ids, state.canvas], dim=1))
        if not config.return_dict_in_generate:
            return sequences
        return GeoDiTGenerateOutput(
            sequences=sequences,
            commit_steps=cast(torch.LongTensor, state.commit_steps),
            confidences=cast(torch.FloatTensor, state.confidences),
            canvases=cast(torch.LongTensor, torch.stack(canvases)),
            num_predictions=state.num_predictions,
        )

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

    def _check_inputs(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        pixel_values: torch.Tensor | None,
        image_features: ImageFeatures | None,
        image_sizes: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Refuse what does not fit together; return prompts and attention mask, both `(B, P)` int64."""
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
        if pixel_values is not None and image_features is not None:
            raise ValueError("Give pixel_values or image_features, not both.")
        if image_sizes is not None and pixel_values is None:
            raise ValueError("image_sizes describe pixel_values: give both or neither.")
        if pixel_values is None and image_features is None and self.config.image_token_id is not None:
            placeholders = int((input_ids == self.config.image_token_id).sum())
            if placeholders:
                raise ValueError(f"input_ids hold {placeholders} image placeholders, but no pixel_values were given.")
        return input_ids.long(), attention_mask.to(input_ids.device).long()


__all__ = [
    "CanvasPredictor",
    "DenoisingState",
    "GeoDiTGenerateOutput",
    "GeoDiTGenerationMixin",
    "ImageFeatures",
    "MaskedDiffusionModel",
    "denoise",
    "denoise_step",
]
