# SPDX-License-Identifier: Apache-2.0
"""Configuration of GeoDiT: a SigLIP vision tower, a projector and a bidirectional LLaDA text core."""

# First of all, as what follows cannot be imported from a Transformers that is too old.
from geodit.configuration.requirements_geodit import TRANSFORMERS  # noqa: F401

# isort: split
import copy
import os
from typing import Any, Literal, Self

from huggingface_hub.dataclasses import strict
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.siglip.configuration_siglip import SiglipVisionConfig

from geodit.configuration.anyres_geodit import anyres_max_tiles, check_grid_pinpoints, default_grid_pinpoints
from geodit.configuration.foreign_files_geodit import refusing_broken_files
from geodit.configuration.geometry_geodit import (
    TEXT_SIZES,
    VISION_SIZES,
    check_heads,
    check_numbers,
    check_sizes,
    refuse_code_by_name,
)
from geodit.configuration.older_transformers_geodit import BaseConfig, SubConfigSpec, has_pooling_head
from geodit.configuration.remote_code_geodit import CONFIG_AUTO_MAP, RemoteCodeMixin
from geodit.configuration.types_geodit import JsonObject

__all__ = ["GeoDiTConfig", "GeoDiTTextConfig"]


@strict
class GeoDiTTextConfig(LlamaConfig):
    """Geometry of the text core. The defaults are those of LLaDA-8B (8,015,581,184 parameters).

    LLaDA's network is Llama's with a bidirectional mask, so every field of
    [`~transformers.LlamaConfig`] keeps its meaning.
    """

    model_type = "geodit_text"
    base_config_key = "text_config"

    vocab_size: int = 126464
    hidden_size: int = 4096
    intermediate_size: int = 12288
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-5
    # A step of denoising rewrites the whole canvas, so there is no causal key-value cache to keep.
    use_cache: bool = False
    bos_token_id: int | None = 126080
    eos_token_id: int | list[int] | None = 126081
    pad_token_id: int | None = 126081
    default_theta = 500000.0

    def validate_geometry(self) -> None:
        """Validate the sizes, for `@strict`: a model must be able to have them."""
        check_sizes(self, TEXT_SIZES, "text_config")
        check_heads(self, "text_config")
        check_numbers(self, ("rms_norm_eps", "initializer_range"), "text_config.")


@strict
class GeoDiTConfig(RemoteCodeMixin, BaseConfig):
    """Configuration of [`GeoDiTForMaskedDiffusion`].

    Args:
        text_config: Geometry of the text core; defaults to LLaDA-8B's.
        vision_config: Geometry of the SigLIP tower; defaults to so400m-patch14-384 (729 patches). Only the features
            of the patches are used, so that it never has a pooling head (`vision_use_head` becomes false).
        image_token_id: Placeholder that the features of an image replace, one token a patch.
        mask_token_id: The absorbing state `[M]` of the diffusion process.
        bos_token_id: First token of a prompt.
        eos_token_id: Ends an answer and fills the canvas after it.
        pad_token_id: Fills a batch. In LLaDA it is the EOS token; the attention mask tells them apart.
        attention_mode: `"full"` lets every token attend to every token (the paper). `"prefix"` lets the
            image attend to the image, the prompt to image and prompt, and the canvas to everything, so that
            keys and values of image and prompt do not depend on the canvas and can be cached exactly.
        projector_hidden_size: Width between the two linear maps of the projector; `None` is the text width.
        projector_hidden_act: Activation between them.
        vision_feature_layer: Which hidden state of the tower feeds the projector, counted as Transformers
            counts `hidden_states` (-1 is the last layer's output, -2 the last but one, as in LLaDA-V).
        vision_post_layernorm: Whether the tower's final layer norm is applied to that hidden state.
        vision_aspect_ratio: `"square"` resizes an image to one picture of the tower (the paper).
            `"anyres_max_<k>"` cuts it into tiles as LLaVA-OneVision does, whose features are scaled down to those of
            about k tiles where there are more; `"anyres_max_4"` is LLaDA-V's.
        image_grid_pinpoints: With `"anyres_max_<k>"`, the `[height, width]` in pixels of each grid of tiles that an
            image may be fitted into, multiples of the tower's image size; `None` is every grid of up to 6 x 6.
        initializer_range: Standard deviation of newly initialized weights.
        tie_word_embeddings: Whether input and output embeddings share their weights.
    """

    model_type = "geodit"
    # The parts have plans of their own, and Transformers' default names modules of a text model.
    base_model_fsdp_plan = {}
    sub_configs_defaults = {
        "text_config": SubConfigSpec(config_class=GeoDiTTextConfig),
        "vision_config": SubConfigSpec(
            config_class=SiglipVisionConfig,
            init_kwargs={
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 27,
                "num_attention_heads": 16,
                "image_size": 384,
                "patch_size": 14,
            },
        ),
    }

    # A dictionary or nothing when given, a configuration from then on.
    text_config: Any = None
    vision_config: Any = None
    image_token_id: int | None = 126349
    mask_token_id: int = 126336
    bos_token_id: int | None = 126080
    eos_token_id: int | None = 126081
    pad_token_id: int | None = 126081
    attention_mode: Literal["full", "prefix"] = "full"
    projector_hidden_size: int | None = None
    projector_hidden_act: str = "gelu"
    vision_feature_layer: int = -1
    vision_post_layernorm: bool = True
    vision_aspect_ratio: str = "square"
    image_grid_pinpoints: list[list[int]] | None = None
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: object) -> None:
        """Complete what is given: sub-configurations and, to see images in tiles, the grids."""
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        if has_pooling_head(self.vision_config):
            # The default of SigLIP, whose pooling head would be made here and never trained.
            self.vision_config = copy.deepcopy(self.vision_config)
            self.vision_config.vision_use_head = False
        if self.image_grid_pinpoints is None and anyres_max_tiles(self.vision_aspect_ratio) is not None:
            self.image_grid_pinpoints = default_grid_pinpoints(self.vision_config.image_size)

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: object
    ) -> tuple[JsonObject, JsonObject]:
        """Read config.json; see [`~transformers.PreTrainedConfig.get_config_dict`].

        Raises:
            ValueError: If it is not a JSON object.
            OSError: If there is none.
        """
        with refusing_broken_files(pretrained_model_name_or_path):
            config, unused = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if not isinstance(config, dict):
            raise ValueError(f"config.json of {pretrained_model_name_or_path} must hold a JSON object.")
        return config, unused

    @classmethod
    def from_dict(cls, config_dict: JsonObject, **kwargs: object) -> Self:
        """Make a configuration of what config.json holds; see [`~transformers.PreTrainedConfig.from_dict`].

        Raises:
            ValueError: If it asks for an implementation of attention that is code of another repository.
        """
        refuse_code_by_name(config_dict)
        return super().from_dict(config_dict, **kwargs)

    @property
    def num_image_tokens(self) -> int:
        """Patches of one picture of the vision tower: the tokens of an image or, with tiles, of each tile."""
        return self._patches_per_side**2

    @property
    def _patches_per_side(self) -> int:
        return int(self.vision_config.image_size // self.vision_config.patch_size)

    def to_dict(self) -> JsonObject:
        """Return everything that `save_pretrained` writes to config.json."""
        output: JsonObject = super().to_dict()
        output["auto_map"] = dict(CONFIG_AUTO_MAP)
        return output

    def validate_geometry(self) -> None:
        """Validate the sizes, for `@strict`: a model must be able to have them. The text core validates its own."""
        vision = self.vision_config
        check_sizes(vision, VISION_SIZES, "vision_config")
        check_heads(vision, "vision_config")
        check_numbers(vision, ("layer_norm_eps",), "vision_config.")
        check_numbers(self, ("initializer_range",), "")
        if vision.patch_size > vision.image_size:
            raise ValueError(
                f"vision_config.patch_size must be at most its image_size, got {vision.patch_size} and "
                f"{vision.image_size}."
            )
        if self.projector_hidden_size is not None:
            check_sizes(self, {"projector_hidden_size": TEXT_SIZES["intermediate_size"]}, "the configuration")

    def validate_token_ids(self) -> None:
        """Validate the token ids, for `@strict`: those that the model itself uses must exist and differ."""
        vocab_size = self.text_config.vocab_size
        for name in ("image_token_id", "mask_token_id", "bos_token_id", "eos_token_id", "pad_token_id"):
            token_id = getattr(self, name)
            if token_id is not None and not 0 <= token_id < vocab_size:
                raise ValueError(
                    f"{name}={token_id} is outside the vocabulary: text_config.vocab_size is {vocab_size}."
                )
        if self.image_token_id is not None and self.image_token_id == self.mask_token_id:
            raise ValueError(f"image_token_id and mask_token_id must differ, both are {self.mask_token_id}.")

    def validate_vision_feature_layer(self) -> None:
        """Validate the feature layer, for `@strict`: it must exist in the tower."""
        layers = self.vision_config.num_hidden_layers
        if not -(layers + 1) <= self.vision_feature_layer <= layers:
            raise ValueError(
                f"vision_feature_layer={self.vision_feature_layer} does not exist: a tower of {layers} layers "
                f"has hidden states {-(layers + 1)} to {layers}."
            )

    def validate_vision_aspect_ratio(self) -> None:
        """Validate how images are cut, for `@strict`: one picture or tiles, and grids that fit the tower."""
        max_tiles = anyres_max_tiles(self.vision_aspect_ratio)
        if max_tiles is not None:
            tile_size = self.vision_config.image_size
            check_grid_pinpoints(self.image_grid_pinpoints, max_tiles, tile_size, self._patches_per_side)
        elif self.image_grid_pinpoints is not None:
            raise ValueError('image_grid_pinpoints go with vision_aspect_ratio="anyres_max_<k>", not with "square".')
