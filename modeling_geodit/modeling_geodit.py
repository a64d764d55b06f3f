# SPDX-License-Identifier: Apache-2.0
"""The GeoDiT network: SigLIP vision tower, two-layer projector, bidirectional LLaDA text core.

Only the wiring is GeoDiT's own. The vision tower is [`~transformers.SiglipVisionModel`] and the text core is
made of stock Llama layers, which match LLaDA's reference code exactly once the causal mask is gone.
"""

# First of all, as what follows cannot be imported from a Transformers that is too old.
from geodit.configuration.requirements_geodit import TRANSFORMERS  # noqa: F401

# isort: split
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling
from transformers.modeling_utils import PreTrainedModel
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaDecoderLayer,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)
from transformers.models.siglip.modeling_siglip import SiglipVisionModel
from transformers.utils.generic import (
    ModelOutput,
    TransformersKwargs,
    can_return_tuple,
    merge_with_config_defaults,
)
from transformers.utils.import_utils import torch_compilable_check
from transformers.utils.output_capturing import capture_outputs

from geodit.configuration.anyres_geodit import anyres_max_tiles
from geodit.configuration.configuration_geodit import GeoDiTConfig, GeoDiTTextConfig
from geodit.configuration.foreign_files_geodit import refusing_broken_files
from geodit.configuration.remote_code_geodit import PublishedMixin, warn_of_moving_code
from geodit.configuration.types_geodit import Arguments
from geodit.modeling_geodit.cache_geodit import LAYER_CACHE_KEYWORD, SegmentCache, write_keys_and_values
from geodit.modeling_geodit.diffusion_geodit import check_masked_labels, labelled_loss
from geodit.modeling_geodit.generation_geodit import GeoDiTGenerationMixin
from geodit.modeling_geodit.host_copies_geodit import to_device
from geodit.modeling_geodit.image_encoding_geodit import (
    TOWER_FLAGS,
    GeoDiTMultiModalProjector,
    ImageEncoderMixin,
)
from geodit.modeling_geodit.loaded_weights_geodit import check_complete, check_headers, check_values, without_report
from geodit.modeling_geodit.prompts_geodit import ImageFeatures, pooled_features
from geodit.modeling_geodit.weight_files_geodit import check_weight_files

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

__all__ = [
    "GeoDiTForMaskedDiffusion",
    "GeoDiTMaskedDiffusionOutput",
    "GeoDiTModel",
    "GeoDiTModelOutput",
    "GeoDiTPreTrainedModel",
    "GeoDiTTextModel",
]

_WRONG_PLACEHOLDERS = (
    "The text does not hold as many image tokens as the images given need. Make both with the processor; on the CPU "
    "this error gives the numbers."
)
_NO_CACHE = "forward() keeps no cache, use_cache=True is for generate(): leave it out."


class _ImageOutputs:
    """What the outputs with an image have in common."""

    image_outputs: BaseModelOutputWithPooling | None

    @property
    def image_hidden_states(self) -> ImageFeatures | None:
        """The projected features of the images, which Transformers calls so up to 5.23."""
        return None if self.image_outputs is None else cast(ImageFeatures, self.image_outputs.pooler_output)


@dataclass
class GeoDiTModelOutput(_ImageOutputs, ModelOutput):
    """Output of [`GeoDiTModel`].

    Args:
        last_hidden_state: `(B, L, d)`, after the final norm.
        hidden_states: One `(B, L, d)` a layer and one for the embeddings, when asked for.
        attentions: One `(B, heads, L, L)` a layer, when asked for (eager attention only).
        image_outputs: What [`GeoDiTModel.get_image_features`] returned, when images were given; its `pooler_output`
            are the projected features.
    """

    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    image_outputs: BaseModelOutputWithPooling | None = None


@dataclass
class GeoDiTMaskedDiffusionOutput(_ImageOutputs, ModelOutput):
    """Output of [`GeoDiTForMaskedDiffusion`].

    Args:
        loss: Mean cross-entropy over the positions whose label is not -100, when labels were given; a sum over them
            divided by `num_items_in_batch` if that was given.
        logits: `(B, L', V)`, or `(K, V)` when `logits_to_keep` is a mask of K positions.
        hidden_states: As in [`GeoDiTModelOutput`].
        attentions: As in [`GeoDiTModelOutput`].
        image_outputs: As in [`GeoDiTModelOutput`].
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    image_outputs: BaseModelOutputWithPooling | None = None


class GeoDiTPreTrainedModel(PublishedMixin, PreTrainedModel):  # type: ignore[misc]
    """Weight initialization, loading and saving shared by the GeoDiT models."""

    config_class = GeoDiTConfig
    base_model_prefix = "model"
    input_modalities = ["image", "text"]
    supports_gradient_checkpointing = True
    _no_split_modules = ["LlamaDecoderLayer", "SiglipEncoderLayer", "SiglipVisionEmbeddings"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": LlamaDecoderLayer, "attentions": LlamaAttention}

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        # Images in tiles have their grid by their size, which is not known when a graph is made.
        self._can_compile_fullgraph = getattr(config, "vision_aspect_ratio", "square") == "square"

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *model_args: Any,
        use_safetensors: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Load a checkpoint as [`~transformers.PreTrainedModel.from_pretrained`] does, from safetensors only.

        With `output_loading_info=True` what was missing or left over is returned beside the model, as Transformers
        does, and with `ignore_mismatched_sizes=True` tensors of other shapes are made anew. Otherwise either is an
        error, and so are weights that are NaN or infinite.

        Raises:
            ValueError: When files are damaged, the weights are not those of the model that config.json describes,
                they are pickles or outside the folder, or pickles are asked for.
            OSError: When there is no such checkpoint.
        """
        if not use_safetensors:
            raise ValueError("use_safetensors=False is not supported: a pickle may run code when it is read.")
        name = pretrained_model_name_or_path
        if torch.get_default_device().type == "meta":  # which Transformers refuses, whatever the files
            return super().from_pretrained(name, *model_args, **kwargs)
        wants_info = bool(kwargs.pop("output_loading_info", False))
        ignores_sizes = bool(kwargs.pop("ignore_mismatched_sizes", False))
        # A checkpoint without tiles has no vector that ends their rows: one is made where tiles are asked for.
        made_anew = ("image_newline",) if "config" in kwargs or "vision_aspect_ratio" in kwargs else ()
        is_strict = not (wants_info or ignores_sizes or made_anew)
        with refusing_broken_files(name), without_report(is_strict):
            if name is not None:
                check_weight_files(name, **kwargs)
                warn_of_moving_code(name, kwargs.get("revision"))
            loaded: Any = super().from_pretrained(
                name,
                *model_args,
                use_safetensors=True,
                output_loading_info=True,
                # Transformers' own error names none of them.
                ignore_mismatched_sizes=ignores_sizes or not wants_info,
                **kwargs,
            )
        model, info = loaded
        if not wants_info:
            check_complete(name, info, ignore_mismatched_sizes=ignores_sizes, made_anew=made_anew)
        check_values(model, name)
        result: Self = loaded if wants_info else model
        return result

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel,
        state_dict: dict[str, torch.Tensor] | None,
        checkpoint_files: list[str] | None,
        load_config: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        # The model is known by now, and takes no memory yet.
        if load_config.hf_quantizer is None:
            check_headers(model, checkpoint_files, load_config.pretrained_model_name_or_path)
        return PreTrainedModel._load_pretrained_model(
            model, state_dict, checkpoint_files, load_config, *args, **kwargs
        )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, GeoDiTModel) and module.image_newline is not None:
            # As LLaVA does: a vector of about unit length.
            init.normal_(module.image_newline, std=1 / math.sqrt(module.image_newline.shape[0]))

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type = "AutoModel") -> None:
        """Do nothing: the code is saved with the configuration, see [`RemoteCodeMixin`]."""


class GeoDiTTextModel(GeoDiTPreTrainedModel):
    """Llama layers under a bidirectional mask: LLaDA's transformer without its output projection."""

    config: GeoDiTTextConfig
    config_class = GeoDiTTextConfig  # type: ignore[assignment]
    input_modalities = ["text"]

    def __init__(self, config: GeoDiTTextConfig):
        super().__init__(config)
        # No padding_idx: LLaDA pads with EOS, whose embedding is trained.
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([LlamaDecoderLayer(config, i) for i in range(config.num_hidden_layers)])
        for layer in self.layers:
            # The attention backends read this where no mask is given.
            layer.self_attn.is_causal = False  # type: ignore[union-attr]
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.post_init()  # type: ignore[no-untyped-call]

    @merge_with_config_defaults  # type: ignore[untyped-decorator]
    @capture_outputs  # type: ignore[untyped-decorator]
    def forward(  # type: ignore[misc]
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        visibility: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        cache: SegmentCache | None = None,
        num_outputs: int | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """Run the text core.

        Args:
            input_ids: `(B, L)` token ids; exactly one of `input_ids` and `inputs_embeds`.
            attention_mask: `(B, L)`, 1 for real tokens and 0 for padding on either side. Not with
                `cache`, which knows it.
            position_ids: `(B, L)`; by default the real tokens of a row count from 0, so that padding shifts
                nothing. Needed with `cache`.
            inputs_embeds: `(B, L, d)`.
            visibility: `(B, L)` integer levels: a token attends to the tokens of its own and lower levels.
                `None` lets every token attend to every token.
            segment_ids: `(B, L)`, 0 for tokens that all share and k for the k-th segment: a token attends to its
                own segment and to what is shared.
            cache: A cache in which the segment that these tokens are has been opened. They attend to
                everything in it.
            num_outputs: Only the hidden states of so many last positions are needed. In the last layer the others
                have keys and values and nothing else.

        Returns:
            The hidden states of the outputs, after the final norm.

        Raises:
            ValueError: when arguments exclude each other.
            RuntimeError: when the layers did not write to the cache.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of input_ids and inputs_embeds.")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if cache is not None:
            if attention_mask is not None or visibility is not None or segment_ids is not None:
                raise ValueError("The cache tells what is seen: give no attention_mask, visibility, segment_ids.")
            attention_mask = cache.valid
            if position_ids is None:
                raise ValueError("Give position_ids with a cache.")
        if position_ids is None:
            position_ids = default_position_ids(attention_mask, inputs_embeds)

        levels = _Levels(visibility, segment_ids)
        hidden_states = inputs_embeds
        position_embeddings = self.rotary_emb(hidden_states, position_ids=position_ids)
        mask = self._attention_mask(hidden_states, attention_mask, levels)
        layers = list(self.layers)
        last = layers.pop() if num_outputs is not None else None
        for layer in layers:
            hidden_states = layer(
                hidden_states,
                attention_mask=mask,
                position_ids=position_ids,
                position_embeddings=position_embeddings,
                **{LAYER_CACHE_KEYWORD: cache},
                **kwargs,
            )
        if last is not None and num_outputs is not None:
            split = hidden_states.shape[1] - num_outputs
            last_cache = cache
            if last_cache is None:
                valid = torch.ones(hidden_states.shape[:2], dtype=torch.bool, device=hidden_states.device)
                last_cache = SegmentCache.empty(len(self.layers), len(valid), valid.shape[1], valid.device)
                last_cache.begin_segment(0, valid)
            if split:
                write_keys_and_values(last, hidden_states[:, :split], position_embeddings, last_cache)
            hidden_states = hidden_states[:, split:]
            if num_outputs:
                hidden_states = last(
                    hidden_states,
                    attention_mask=self._attention_mask(hidden_states, attention_mask, levels),
                    position_ids=position_ids[:, split:],
                    position_embeddings=tuple(part[:, split:] for part in position_embeddings),
                    **{LAYER_CACHE_KEYWORD: last_cache},
                    **kwargs,
                )
            last_cache.check_written(len(layers))
        if cache is not None:
            for layer_idx in range(len(layers)):
                cache.check_written(layer_idx)
        return BaseModelOutput(last_hidden_state=self.norm(hidden_states))

    def _attention_mask(
        self, queries: torch.Tensor, key_mask: torch.Tensor | None, levels: "_Levels"
    ) -> "torch.Tensor | BlockMask | None":
        """Return the mask `(B, 1, Q, K)`, as the attention backend takes it, of queries that are the last keys."""
        num_keys = key_mask.shape[1] if key_mask is not None else levels.num_tokens or queries.shape[1]
        mask: torch.Tensor | BlockMask | None = create_bidirectional_mask(
            config=self.config,
            inputs_embeds=queries,
            attention_mask=key_mask,
            # Only its shape and type are read.
            encoder_hidden_states=queries[:, :1, :1].expand(-1, num_keys, -1),
            and_mask_function=levels.mask_function(num_keys - queries.shape[1]),
        )
        return mask


@dataclass(frozen=True)
class _Levels:
    """Who sees whom, beyond padding: `visibility` and `segment_ids` of [`GeoDiTTextModel.forward`]."""

    visibility: torch.Tensor | None
    segment_ids: torch.Tensor | None

    @property
    def num_tokens(self) -> int | None:
        """Length of the sequence, if there is anything to say about it."""
        given = self.visibility if self.visibility is not None else self.segment_ids
        return None if given is None else given.shape[1]

    def mask_function(self, offset: int) -> Callable[..., torch.Tensor | bool] | None:
        """Return what [`create_bidirectional_mask`] takes for queries `offset` tokens after the first key."""
        visibility, segment_ids = self.visibility, self.segment_ids
        if visibility is None and segment_ids is None:
            return None

        def may_attend(batch_idx, head_idx, q_idx, kv_idx):  # type: ignore[no-untyped-def]
            allowed: torch.Tensor | bool = True
            if visibility is not None:
                allowed = visibility[batch_idx, kv_idx] <= visibility[batch_idx, q_idx + offset]
            if segment_ids is not None:
                segment = segment_ids[batch_idx, kv_idx]
                allowed = allowed & ((segment == 0) | (segment == segment_ids[batch_idx, q_idx + offset]))
            return allowed

        return may_attend


class GeoDiTModel(ImageEncoderMixin, GeoDiTPreTrainedModel):  # type: ignore[misc]
    """Vision tower, projector and text core, without the output projection.

    With `config.vision_aspect_ratio="anyres_max_<k>"` there is one parameter more, `image_newline` `(d,)`, which ends
    each row of patches.
    """

    config: GeoDiTConfig
    # Of a whole model, which this is the largest part of.
    _keys_to_ignore_on_load_unexpected = ["^lm_head"]
    # The units in which FSDP2 shards, beside those of the text core.
    _fsdp_plan = {"vision_tower.encoder.layers.*": "free_full_weight"}

    def __init__(self, config: GeoDiTConfig):
        super().__init__(config)
        # from_pretrained sets the fields that it is given one by one, after the configuration was checked as a whole.
        config.validate()
        self.vision_tower = SiglipVisionModel(config.vision_config)
        self.multi_modal_projector = GeoDiTMultiModalProjector(config)
        self.image_newline: nn.Parameter | None = None
        if anyres_max_tiles(config.vision_aspect_ratio) is not None:
            self.image_newline = nn.Parameter(torch.empty(config.text_config.hidden_size))
        self.language_model = GeoDiTTextModel(config.text_config)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the token embeddings `(V, d)`."""
        return self.language_model.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings."""
        self.language_model.embed_tokens = cast(nn.Embedding, value)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def get_image_features(
        self,
        pixel_values: torch.Tensor,
        image_sizes: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Encode images and project them to the width of the text core.

        Args:
            pixel_values: Normalized as the processor does. `(images, 3, H, W)` with `vision_aspect_ratio="square"`.
                With `"anyres_max_<k>"` `(images, T, 3, H, W)`: the whole image made small, then its tiles row by row,
                then padding up to the T tiles of the largest grid.
            image_sizes: `(images, 2)`, height and width of each image in pixels before it was resized. Needed with
                `"anyres_max_<k>"`, refused with `"square"`.
            **kwargs: `output_hidden_states` and `output_attentions` of the vision tower; `return_dict`.

        Returns:
            The output of the vision tower, with `last_hidden_state` `(pictures, n, d_v)` of all pictures, a picture
            an image or a tile, and the projected features as `pooler_output`. With `"square"` these are
            `(images, n, d)`, one vector per patch. With `"anyres_max_<k>"` a tuple of one `(n_i, d)` per image: the n
            patches of the whole image, then the patches of all tiles row by row, without those of the border that
            fitted the image into its grid, scaled down to about k * n where they are more, and with `image_newline`
            at the end of each row.

        Raises:
            ValueError: when the tensors are not those of the configuration's `vision_aspect_ratio`.
            TypeError: for a keyword argument that nothing here reads.
        """
        _refuse_unknown("get_image_features", kwargs)
        return self.encode_by(self.vision_tower, pixel_values, image_sizes, **kwargs)

    def place_image_features(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor, image_features: ImageFeatures
    ) -> torch.Tensor:
        """Put encoded images where their placeholders are.

        Args:
            input_ids: `(B, L)`; `None` finds the placeholders by their embeddings. On the CPU they are looked at
                there, and no device is waited for.
            inputs_embeds: `(B, L, d)`, the embeddings of the tokens.
            image_features: The `pooler_output` of [`get_image_features`], in the order of the placeholders.

        Returns:
            `(B, L, d)`.

        Raises:
            ValueError: when placeholders and images do not match in number. In training on a CUDA device this is
                queued, and a failure ends the process by a device-side assertion.
        """
        placeholders = self._find_placeholders(input_ids, inputs_embeds)
        counts = [len(features) for features in image_features]
        found = placeholders.sum()

        def message() -> str:
            each = f"{counts[0]} each" if len(set(counts)) == 1 else " + ".join(map(str, counts))
            return (
                f"The text holds {int(found)} image tokens, but the {len(counts)} images given need {sum(counts)} "
                f"({each}). Make both with the processor."
            )

        if not isinstance(image_features, torch.Tensor):
            image_features = torch.cat(image_features)
        image_features = image_features.to(inputs_embeds.device, inputs_embeds.dtype)
        placeholders = to_device(placeholders, inputs_embeds.device)
        if self.training and (found.is_cuda or found.is_meta) and not torch.compiler.is_compiling():
            # Queued, as each update would wait here for the device.
            torch._assert_async(found == sum(counts), _WRONG_PLACEHOLDERS)
        else:
            torch_compilable_check(found == sum(counts), message)
        if not image_features.requires_grad:
            return inputs_embeds.masked_scatter(placeholders.unsqueeze(-1), image_features)
        # The gradient of masked_scatter is read back to see how large it is; that of places is not.
        image_features = image_features.flatten(0, -2)
        places = (~placeholders).flatten().to(torch.uint8).argsort(stable=True)[: len(image_features)].clone()
        return inputs_embeds.flatten(0, 1).index_put((places,), image_features).view(inputs_embeds.shape)

    def _find_placeholders(self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor) -> torch.Tensor:
        """`(B, L)` bool, true where an image token stands."""
        image_token_id = self.config.image_token_id
        if image_token_id is None:
            return torch.zeros(inputs_embeds.shape[:2], dtype=torch.bool, device=inputs_embeds.device)
        if input_ids is not None:
            return input_ids.eq(image_token_id)
        token = torch.full((), image_token_id, dtype=torch.long, device=inputs_embeds.device)
        return inputs_embeds.eq(self.get_input_embeddings()(token)).all(-1)

    def _visibility(
        self, input_ids: torch.Tensor | None, token_embeds: torch.Tensor, canvas_mask: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Levels of `attention_mode="prefix"`: image 0, prompt 1, canvas 2; `None` in full mode."""
        if self.config.attention_mode == "full":
            return None
        levels = (~self._find_placeholders(input_ids, token_embeds)).long()
        return levels if canvas_mask is None else levels.masked_fill(canvas_mask.bool(), 2)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(  # type: ignore[misc]
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        image_features: ImageFeatures | BaseModelOutputWithPooling | None = None,
        canvas_mask: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        image_sizes: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> GeoDiTModelOutput:
        """Run the network once; see [`GeoDiTForMaskedDiffusion.forward`] for the arguments."""
        _refuse_unknown("forward", kwargs)
        if input_ids is None and inputs_embeds is None:
            raise ValueError("Give input_ids, inputs_embeds or both.")
        if pixel_values is not None and image_features is not None:
            raise ValueError("Give pixel_values or image_features, not both.")
        if segment_ids is not None and self.config.attention_mode == "full":
            raise ValueError(
                'Several questions in a row (segment_ids) need attention_mode="prefix": in "full" mode the image '
                "they share would let each see the answers of the others."
            )
        if image_sizes is not None and pixel_values is None:
            raise ValueError("image_sizes describe pixel_values: give both or neither.")
        if use_cache:
            raise ValueError(_NO_CACHE)
        if use_cache is not None and self.training and torch.is_grad_enabled():
            # The model itself passes none. Trainers of causal models do, to put a head of their own on the backbone.
            raise ValueError(
                "use_cache shows that this is trained to predict the next token: a trainer made for that, such as "
                "trl's SFTTrainer, trains GeoDiT wrongly. Use GeoDiTTrainer (docs/your-own-training-code.md)."
            )
        image_outputs = None
        if pixel_values is not None:
            flags = {name: kwargs[name] for name in TOWER_FLAGS if name in kwargs}
            image_outputs = self.get_image_features(pixel_values, image_sizes, return_dict=True, **flags)
        elif image_features is not None:
            image_outputs = BaseModelOutputWithPooling(
                pooler_output=pooled_features(image_features)  # type: ignore[arg-type]
            )
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        visibility = self._visibility(input_ids, inputs_embeds, canvas_mask)
        if image_outputs is not None:
            inputs_embeds = self.place_image_features(input_ids, inputs_embeds, image_outputs.pooler_output)

        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            visibility=visibility,
            segment_ids=segment_ids,
            return_dict=True,
            **kwargs,
        )
        return GeoDiTModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_outputs=image_outputs,
        )


class GeoDiTForMaskedDiffusion(GeoDiTGenerationMixin, GeoDiTPreTrainedModel):  # type: ignore[misc]
    """GeoDiT with its output projection: logits for every position at once, and `generate()`."""

    config: GeoDiTConfig
    model: GeoDiTModel
    lm_head: nn.Linear
    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    _fsdp_plan = {"lm_head": "keep_full_weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    # Trainer then counts the labels of a whole update: micro-batches differ in how many positions are masked.
    accepts_loss_kwargs = True

    def __init__(self, config: GeoDiTConfig):
        super().__init__(config)
        self.model = GeoDiTModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the token embeddings `(V, d)`."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Return the output projection `(V, d)`."""
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the output projection."""
        self.lm_head = cast(nn.Linear, value)

    @property
    def prepare_inputs_for_generation(self) -> Callable[..., Arguments]:
        """What PEFT asks of a base with `task_type="CAUSAL_LM"`: inputs as a forward pass takes them, all of them.

        `generate()` prepares its own inputs, so setting it is refused: what prompt tuning and its kin add to a prompt
        by a function of their own would be left out of the answer.

        Raises:
            ValueError: when it is set.
        """
        return _keep_inputs

    @prepare_inputs_for_generation.setter
    def prepare_inputs_for_generation(self, value: object) -> None:
        raise ValueError(
            "generate() denoises a canvas and has no place for a prepare_inputs_for_generation of others, such as "
            "that of prompt tuning, prefix tuning or p-tuning: train an adapter of the layers, such as LoraConfig."
        )

    def get_image_features(
        self,
        pixel_values: torch.Tensor,
        image_sizes: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """See [`GeoDiTModel.get_image_features`]."""
        return cast(BaseModelOutputWithPooling, self.model.get_image_features(pixel_values, image_sizes, **kwargs))

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(  # type: ignore[misc]
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        image_features: ImageFeatures | BaseModelOutputWithPooling | None = None,
        canvas_mask: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        image_sizes: torch.Tensor | None = None,
        use_cache: bool | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor | tuple[torch.Tensor, torch.Tensor] = 0,
        num_items_in_batch: int | torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> GeoDiTMaskedDiffusionOutput:
        """Predict the token of every position. Nothing is masked here: the caller passes the canvas as it is.

        Args:
            input_ids: `(B, L)`: image placeholders, prompt and canvas. May accompany `inputs_embeds`, to tell
                where the image stands; without, it stands where the embedding of the placeholder does.
            pixel_values: `(images, 3, H, W)` or tiles, in the order of their placeholders; see
                [`GeoDiTModel.get_image_features`].
            attention_mask: `(B, L)`, 1 for real tokens (the canvas included) and 0 for padding on either side.
            position_ids: `(B, L)`; by default the real tokens of a row count from 0.
            inputs_embeds: `(B, L, d)` in place of the embeddings of `input_ids`. Images that are given are put where
                their placeholders stand.
            image_features: What [`get_image_features`] returned, instead of `pixel_values`.
            canvas_mask: `(B, L)`, true on the canvas. With `attention_mode="prefix"` the canvas sees the prompt and
                not the other way round; without this mask all text is prompt. No effect with `"full"`.
            segment_ids: `(B, L)`, 0 for the image and k for the k-th of several questions after it, which see the
                image and nothing of each other; needs `attention_mode="prefix"`, where the result is that of
                asking them one by one, and `position_ids` that count on from the image for each of them.
            image_sizes: `(images, 2)`, height and width of the images, if `pixel_values` are tiles.
            use_cache: Taken as Transformers models do; there is no cache to return, so that true is refused.
            labels: `(B, L)` true tokens, -100 where nothing is to be learnt. The loss is the plain mean over all
                others, `[M]` or not: LLaDA's objective is a loss at masked positions alone, so give -100 at visible
                ones. The weighted loss of training is [`masked_diffusion_loss`]. In training, labels that stand at
                visible positions only are refused, see [`check_masked_labels`]; where there are no `input_ids` but
                `inputs_embeds` alone, what is masked cannot be known and nothing is checked.
            logits_to_keep: Where to compute the output projection: an integer keeps that many last positions
                (0 keeps all), a boolean mask `(B, L)` keeps the marked positions, flattened to `(K, V)`. Rows and
                columns `(K,)` of positions do the same, and a device need not be asked how many they are.
            num_items_in_batch: The number of labels that are not -100 in all micro-batches of an update, which the
                sum of the losses is divided by in place of this batch's own; Trainer gives it.

        Raises:
            ValueError: when placeholders and images do not match, arguments exclude each other, or labels in training
                stand at visible positions only.
            TypeError: for a keyword argument that nothing here reads.
        """
        _refuse_unknown("forward", kwargs)
        if use_cache:
            raise ValueError(_NO_CACHE)
        if labels is not None and input_ids is not None and self.training and torch.is_grad_enabled():
            check_masked_labels(input_ids, labels, self.config.mask_token_id)
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            image_features=image_features,
            canvas_mask=canvas_mask,
            segment_ids=segment_ids,
            image_sizes=image_sizes,
            return_dict=True,
            **kwargs,
        )
        hidden_states = outputs.last_hidden_state
        if isinstance(logits_to_keep, torch.Tensor | tuple):
            hidden_states, labels = (x if x is None else x[logits_to_keep] for x in (hidden_states, labels))
        elif logits_to_keep:
            hidden_states, labels = (x if x is None else x[:, -logits_to_keep:] for x in (hidden_states, labels))
        logits = self.lm_head(hidden_states)
        loss = None
        if labels is not None:
            loss = labelled_loss(logits, labels, num_items_in_batch)
        return GeoDiTMaskedDiffusionOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_outputs=outputs.image_outputs,
        )


def _keep_inputs(input_ids: torch.Tensor, **inputs: object) -> Arguments:
    return {"input_ids": input_ids, **inputs}


def _refuse_unknown(function: str, kwargs: Mapping[str, object]) -> None:
    """Refuse keyword arguments that are none of those that all models of Transformers take."""
    if unknown := kwargs.keys() - TransformersKwargs.__annotations__.keys():
        raise TypeError(f"{function}() got unexpected keyword arguments: {', '.join(sorted(unknown))}.")


def default_position_ids(attention_mask: torch.Tensor | None, inputs_embeds: torch.Tensor) -> torch.Tensor:
    """Positions `(B, L)` that count the real tokens of each row from 0, wherever its padding stands."""
    if attention_mask is None or attention_mask.dim() != 2:
        return torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device).unsqueeze(0)
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
