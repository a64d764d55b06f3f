# SPDX-License-Identifier: Apache-2.0
"""What stands in for a newer Transformers does what that does."""

from dataclasses import dataclass

import pytest
from transformers import LlamaConfig, PreTrainedConfig, SiglipVisionConfig
from transformers.processing_utils import ProcessorMixin, TextKwargs

from geodit.configuration import older_transformers_geodit as older


@pytest.fixture
def nested():
    """A configuration of two parts."""

    class Nested(older.BaseConfig):
        model_type = "nested"
        sub_configs_defaults = {
            "text_config": older.SubConfigSpec(LlamaConfig),
            "vision_config": older.SubConfigSpec(SiglipVisionConfig, init_kwargs={"hidden_size": 48}),
        }
        text_config: PreTrainedConfig | dict | None = None
        vision_config: PreTrainedConfig | dict | None = None

    return Nested


class TestSubConfigurations:
    """With a newer Transformers these are its own."""

    def test_are_made_with_the_defaults_of_the_class(self, nested):
        config = nested()
        assert isinstance(config.text_config, LlamaConfig)
        assert config.vision_config.hidden_size == 48

    def test_that_are_given_have_none_of_these(self, nested):
        assert nested(vision_config={"image_size": 28}).vision_config.hidden_size == SiglipVisionConfig().hidden_size

    def test_that_are_configurations_stay_what_they_are(self, nested):
        text = LlamaConfig(hidden_size=32)
        assert nested(text_config=text).text_config is text

    def test_are_found_by_transformers_and_saved(self, nested, tmp_path):
        assert nested.sub_configs == {"text_config": LlamaConfig, "vision_config": SiglipVisionConfig}
        config = nested(text_config={"hidden_size": 32})
        config.save_pretrained(tmp_path)
        assert nested.from_pretrained(tmp_path).to_dict() == config.to_dict()

    def test_of_another_type_are_refused_by_name(self, nested):
        with pytest.raises(TypeError, match="`text_config` must be a `dict`, `PreTrainedConfig`, or `None`"):
            nested(text_config="large")


class Processor(older._OlderProcessor):
    """A processor without parts."""

    text_kwargs: TextKwargs = {"padding": True}


class TestProcessor:
    def test_defaults_are_those_of_its_class_alone(self):
        assert Processor.valid_processor_kwargs._defaults == {"text_kwargs": {"padding": True}}
        assert ProcessorMixin.valid_processor_kwargs._defaults == {}
        assert {"text_kwargs", "images_kwargs"} <= Processor.valid_processor_kwargs.__annotations__.keys()

    def test_making_control_tokens_harmless_is_refused_with_the_version_that_can(self):
        conversation = [{"role": "user", "content": "Read <|eot_id|>"}]
        with pytest.raises(
            ValueError, match=r"`sanitize_control_tokens` needs Transformers 5.23 or newer, but 5\..* is"
        ):
            Processor().apply_chat_template(conversation, sanitize_control_tokens=True)

    def test_other_arguments_of_a_template_are_passed_on(self):
        conversation = [{"role": "user", "content": "Read"}]
        with pytest.raises(ValueError, match="does not have a chat template"):
            Processor().apply_chat_template(conversation, sanitize_control_tokens=False)


class TestPoolingHead:
    def test_is_made_unless_it_is_left_out(self):
        assert older.has_pooling_head(SiglipVisionConfig())
        assert not older.has_pooling_head(SiglipVisionConfig(vision_use_head=False))


@dataclass
class OlderArguments:
    """The names that Transformers has given up."""

    gradient_checkpointing: bool = False
    gradient_checkpointing_kwargs: dict | None = None

    def __post_init__(self):
        self.checked = self.gradient_checkpointing


@dataclass
class Arguments(older._OlderCheckpointing, OlderArguments):
    """With the new ones."""


class TestCheckpointingArguments:
    @pytest.mark.parametrize("name", ["activation_checkpointing", "gradient_checkpointing"])
    def test_both_names_mean_the_same(self, name):
        arguments = Arguments(**{name: True, f"{name}_kwargs": {"every_n_layers": 2}})
        assert arguments.checked
        for either in ("activation_checkpointing", "gradient_checkpointing"):
            assert getattr(arguments, either) is True
            assert getattr(arguments, f"{either}_kwargs") == {"every_n_layers": 2}

    def test_the_newer_name_comes_first(self):
        assert not Arguments(activation_checkpointing=False, gradient_checkpointing=True).checked

    def test_without_either_nothing_is_checkpointed(self):
        assert Arguments().activation_checkpointing is False
