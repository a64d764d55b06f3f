# SPDX-License-Identifier: Apache-2.0
"""What Transformers 5.19 to 5.22 lack of what GeoDiT uses; no other module asks which version is installed.

The newest Transformers that vLLM 0.32 allows is 5.19. Each section names the release that made it unneeded: when the
lower bound in setup.cfg reaches that release, delete the section and import the name from Transformers.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import transformers
from transformers.configuration_utils import PreTrainedConfig
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin

from geodit.configuration.types_geodit import Arguments

__all__ = [
    "BaseConfig",
    "BaseProcessor",
    "CheckpointingArguments",
    "SubConfigSpec",
    "has_pooling_head",
    "selected_hidden_states",
]

_INSTALLED = tuple(map(int, transformers.__version__.split(".")[:2]))

# 5.20: configurations make the sub-configurations that `sub_configs_defaults` declares.


class _OlderSubConfigSpec:
    """The part of [`~transformers.configuration_utils.SubConfigSpec`] that GeoDiT uses.

    Args:
        config_class: The class of the sub-configuration.
        init_kwargs: Its fields where none are given.
    """

    def __init__(self, config_class: type[PreTrainedConfig], *, init_kwargs: Arguments | None = None) -> None:
        self.config_class = config_class
        self.init_kwargs = init_kwargs or {}

    def make(self, name: str, given: object) -> PreTrainedConfig:
        """Make the sub-configuration.

        Args:
            name: The name of its field, for errors.
            given: What the configuration was given: the sub-configuration itself, a dictionary of its fields, or
                `None` for the defaults.

        Raises:
            TypeError: If it is anything else.
        """
        if isinstance(given, PreTrainedConfig):
            return given
        if not isinstance(given, dict | None):
            raise TypeError(f"`{name}` must be a `dict`, `PreTrainedConfig`, or `None`, got `{type(given)}`")
        return self.config_class(**(self.init_kwargs if given is None else given))


class _OlderConfig(PreTrainedConfig):
    """A configuration that makes its sub-configurations."""

    sub_configs_defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, *args: Any, **kwargs: Any) -> None:
        super().__init_subclass__(*args, **kwargs)  # type: ignore[no-untyped-call]
        owner: Any = cls
        # Where Transformers finds them before 5.20, which makes it a property of the class.
        owner.sub_configs = {name: spec.config_class for name, spec in cls.sub_configs_defaults.items()}

    def __post_init__(self, **kwargs: object) -> None:
        for name, spec in self.sub_configs_defaults.items():
            setattr(self, name, spec.make(name, getattr(self, name)))
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


if TYPE_CHECKING or _INSTALLED >= (5, 20):
    from transformers.configuration_utils import PreTrainedConfig as BaseConfig
    from transformers.configuration_utils import SubConfigSpec
else:
    BaseConfig, SubConfigSpec = _OlderConfig, _OlderSubConfigSpec

# 5.23: processors have their defaults as attributes of the class, and `apply_chat_template` of a processor takes
# `sanitize_control_tokens`.


class _OlderProcessor(ProcessorMixin):
    """A processor whose `text_kwargs` are the defaults of its texts."""

    def __init_subclass__(cls, *args: Any, **kwargs: Any) -> None:
        super().__init_subclass__(*args, **kwargs)
        # Before 5.23 the defaults belong to the type of the arguments, so that each class gets a type of its own.
        arguments: Any = types.new_class("Arguments", (ProcessingKwargs,), {"total": False})
        arguments._defaults = {"text_kwargs": dict(getattr(cls, "text_kwargs", {}))}
        cls.valid_processor_kwargs = arguments

    def apply_chat_template(
        self, conversation: Any, *args: Any, sanitize_control_tokens: bool = False, **kwargs: Any
    ) -> Any:
        """Render conversations; see [`~transformers.ProcessorMixin.apply_chat_template`].

        Raises:
            ValueError: If `sanitize_control_tokens` is true: older releases would pass it to the template.
        """
        if sanitize_control_tokens:
            raise ValueError(
                f"`sanitize_control_tokens` needs Transformers 5.23 or newer, but {transformers.__version__} is "
                "installed: take special tokens out of the texts yourself, or run `pip install 'transformers>=5.23'`."
            )
        return super().apply_chat_template(conversation, *args, **kwargs)


if TYPE_CHECKING or _INSTALLED >= (5, 23):
    from transformers.processing_utils import ProcessorMixin as BaseProcessor
else:
    BaseProcessor = _OlderProcessor

# 5.23: `vision_use_head` is a field of SiglipVisionConfig.


def has_pooling_head(config: PreTrainedConfig) -> bool:
    """Return whether a SigLIP tower is made with its pooling head, as it is by default.

    Args:
        config: The configuration of the tower.
    """
    return bool(getattr(config, "vision_use_head", True))


# 5.23: `output_hidden_states=[layer]` keeps the hidden states of that index alone. Before, it counts layers from their
# outputs, so that the index means another layer and a negative one means none.


def selected_hidden_states(layer: int) -> list[int] | bool:
    """Return the `output_hidden_states` of a tower of which one hidden state is used: all of them before 5.23.

    Args:
        layer: Its index among all hidden states, counted as Transformers counts them.
    """
    return [layer] if _INSTALLED >= (5, 23) else True


# 5.23: `activation_checkpointing` is the name of what was `gradient_checkpointing`.


@dataclass
class _OlderCheckpointing:
    """Fields for arguments of training that know the older names alone. Put it before the class of Transformers.

    As in Transformers from 5.23 on, the older names count where the newer ones are not given, and mirror them later.
    """

    activation_checkpointing: bool | None = field(
        default=None, metadata={"help": "Compute activations twice to save memory.", "nargs": "?", "const": True}
    )
    activation_checkpointing_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Keyword arguments of `gradient_checkpointing_enable()`."}
    )

    def __post_init__(self) -> None:
        arguments: Any = self
        if self.activation_checkpointing is not None:
            arguments.gradient_checkpointing = self.activation_checkpointing
        if self.activation_checkpointing_kwargs is not None:
            arguments.gradient_checkpointing_kwargs = self.activation_checkpointing_kwargs
        super().__post_init__()  # type: ignore[misc]
        arguments.gradient_checkpointing = self.activation_checkpointing = bool(arguments.gradient_checkpointing)
        self.activation_checkpointing_kwargs = arguments.gradient_checkpointing_kwargs


if TYPE_CHECKING or _INSTALLED >= (5, 23):

    @dataclass
    class CheckpointingArguments:
        """Adds nothing: the arguments of Transformers have the fields."""
else:
    CheckpointingArguments = _OlderCheckpointing
