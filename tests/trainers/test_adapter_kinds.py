# SPDX-License-Identifier: Apache-2.0
"""Every method and task type of PEFT either works from training to merging, or is refused in one sentence."""

import copy
import warnings

import pytest
import torch

peft = pytest.importorskip("peft")

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING  # noqa: E402

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion  # noqa: E402
from geodit.processing.processing_geodit import GeoDiTProcessor  # noqa: E402
from geodit.trainers.lora import LANGUAGE_MODEL_LINEARS, complete_peft_config  # noqa: E402
from geodit.weights.adapters import load_adapter, load_merged  # noqa: E402

# Sizes that fit layers of 32 and 48 columns, where those that PEFT has by default do not.
SIZES = {
    "ADALORA": {"total_step": 10},
    "C3A": {"block_size": 16},
    "MISS": {"r": 4},
    "ROAD": {"group_size": 4},
    "SHIRA": {"r": 2},
    "TRAINABLE_TOKENS": {"token_indices": [7, 8]},
    "VBLORA": {"vector_length": 8, "num_vectors": 16},
    "WAVEFT": {"n_frequency": 16},
}
REFUSED = {"ADALORA", "ADAPTION_PROMPT", "BEFT", "LILY", "POLY", "SHADOW", "XLORA"}
PROMPT_LEARNING = {"CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "PROMPT_TUNING"}
# Its configuration cannot be made without scikit-learn.
KINDS = sorted({kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING} - {"ADAMSS"})


def make_config(kind, **options):
    cls = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(kind)]
    if kind in PROMPT_LEARNING:
        options = {"task_type": "CAUSAL_LM", **options}
        if kind != "CPT":
            options["num_virtual_tokens"] = 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls(**SIZES.get(kind, {}), **options)


@pytest.fixture(scope="module")
def loaded(base):
    """That checkpoint, to take copies of."""
    return GeoDiTForMaskedDiffusion.from_pretrained(base), GeoDiTProcessor.from_pretrained(base)


@pytest.fixture
def parts(loaded):
    return copy.deepcopy(loaded)


@pytest.fixture
def network(loaded):
    """The network of the checkpoint without an adapter, as the one of `parts` is at first."""
    return copy.deepcopy(loaded[0])


def question(processor, item):
    return processor(images=item["image"], text="ship", task="detect", return_tensors="pt")


@torch.no_grad()
def logits(model, inputs):
    return model.eval()(**inputs).logits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in REFUSED | PROMPT_LEARNING])
def test_a_method_is_trained_saved_loaded_merged_and_answers(kind, network, parts, items, tmp_path, make_trainer):
    model, processor = parts
    inputs = question(processor, items[0])
    inputs["input_ids"][0, -2] = 7  # one of the trainable tokens
    plain = logits(model, inputs)
    options = {"max_steps": 1, "learning_rate": 1e-1, "warmup_steps": 0, "peft_config": make_config(kind)}
    trainer = make_trainer(model, processor, items[:2], tmp_path, **options)
    adapted = trainer.model
    start = {name: value.detach().clone() for name, value in adapted.named_parameters()}
    trainer.train()
    changed = {name for name, value in adapted.named_parameters() if not value.equal(start[name])}
    assert changed, "something is trained"
    assert not any("vision_tower" in name for name in changed)
    assert changed <= {name for name, value in adapted.named_parameters() if value.requires_grad}
    trainer.save_model()
    expected = logits(adapted, inputs)
    assert not expected.equal(plain)
    answer = adapted.generate(**inputs, max_new_tokens=8, max_denoising_steps=2)

    loaded = load_adapter(network, tmp_path)
    assert logits(loaded, inputs).equal(expected)
    assert loaded.generate(**inputs, max_new_tokens=8, max_denoising_steps=2).equal(answer)
    merged = load_merged(tmp_path).eval()
    torch.testing.assert_close(logits(merged, inputs), expected, atol=1e-4, rtol=1e-3)
    assert not [name for name, _ in merged.named_parameters() if "modules_to_save" in name or "base_layer" in name]


@pytest.mark.parametrize("kind", sorted(REFUSED | PROMPT_LEARNING))
def test_a_method_that_does_not_fit_is_refused_with_what_to_use(kind, parts, items, tmp_path, make_trainer):
    message = f"GeoDiT takes no adapter of the kind {kind}, as .*: use one .* such as LoraConfig"
    with pytest.raises(ValueError, match=message):
        make_trainer(*parts, items, tmp_path, peft_config=make_config(kind))


def test_an_activated_lora_is_refused(parts, items, tmp_path, make_trainer):
    config = peft.LoraConfig(alora_invocation_tokens=[5], task_type="CAUSAL_LM")
    with pytest.raises(ValueError, match="activated LoRA is for text that is written from left to right"):
        make_trainer(*parts, items, tmp_path, peft_config=config)


class TestTaskTypes:
    @pytest.mark.parametrize("task_type", [None, "CAUSAL_LM", "FEATURE_EXTRACTION"])
    def test_a_type_that_calls_the_model_as_it_is(self, task_type, network, parts, items, tmp_path, make_trainer):
        model, processor = parts
        config = peft.LoraConfig(r=2, task_type=task_type)
        trainer = make_trainer(
            model, processor, items[:2], tmp_path, peft_config=config, learning_rate=1e-1, warmup_steps=0
        )
        trainer.train()
        trainer.save_model()
        inputs = question(processor, items[0])
        expected = logits(trainer.model, inputs)
        options = {"max_new_tokens": 8, "max_denoising_steps": 2}
        answer = trainer.model.generate(**inputs, **options)
        by_peft = peft.PeftModel.from_pretrained(copy.deepcopy(network), tmp_path)
        assert type(by_peft) is type(trainer.model)
        assert by_peft.generate(**inputs, **options).equal(answer)
        for other in (by_peft, load_adapter(network, tmp_path)):
            assert logits(other, inputs).equal(expected)
        torch.testing.assert_close(logits(load_merged(tmp_path), inputs), expected, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("task_type", ["SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS"])
    def test_a_type_for_another_task(self, task_type, parts, items, tmp_path, make_trainer):
        with pytest.raises(ValueError, match=rf"task_type='{task_type}' .*: write task_type=\"CAUSAL_LM\", or leave"):
            make_trainer(*parts, items, tmp_path, peft_config=peft.LoraConfig(task_type=task_type))

    def test_the_usual_line_of_peft_works_by_itself(self, parts, items):
        """`get_peft_model`, without our Trainer."""
        model, processor = parts
        inputs = question(processor, items[0])
        expected = model.eval().generate(**inputs, max_new_tokens=8, max_denoising_steps=2)
        config = peft.LoraConfig(r=2, target_modules=LANGUAGE_MODEL_LINEARS, task_type="CAUSAL_LM")
        adapted = peft.get_peft_model(model, config).eval()
        assert adapted.generate(**inputs, max_new_tokens=8, max_denoising_steps=2).equal(expected)
        assert adapted.prepare_inputs_for_generation(**inputs).keys() == dict(inputs).keys()
        with pytest.raises(ValueError, match="max_new_tokens"):
            adapted.generate(**inputs, max_new_tokens=0)

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("kind", ["P_TUNING", "PREFIX_TUNING", "PROMPT_TUNING"])
    def test_virtual_tokens_are_never_left_out_of_an_answer(self, kind, parts, items):
        """PEFT wraps the model without asking it, and `generate()` of the model would not see what it adds."""
        model, processor = parts
        adapted = peft.get_peft_model(model, make_config(kind, num_attention_heads=2, num_layers=2, token_dim=32))
        inputs = question(processor, items[0])
        with pytest.raises(ValueError, match=r"prompt tuning, prefix tuning or p-tuning: train .* such as LoraConfig"):
            adapted.generate(**inputs, max_new_tokens=8)


class TestModelsThatHaveOne:
    @pytest.mark.filterwarnings("ignore")
    def test_a_wrapped_model_of_another_kind_is_refused(self, parts, items, tmp_path, make_trainer):
        model, processor = parts
        options = {"num_attention_heads": 2, "num_layers": 2, "token_dim": 32}
        wrapped = peft.get_peft_model(model, make_config("PROMPT_TUNING", **options))
        with pytest.raises(ValueError, match="no adapter of the kind PROMPT_TUNING"):
            make_trainer(wrapped, processor, items, tmp_path)

    def test_an_adapter_that_the_model_was_given_itself_is_refused(self, parts, items, tmp_path, make_trainer):
        """All of the model would be trained, and the adapter alone be saved."""
        model, processor = parts
        try:
            model.add_adapter(peft.LoraConfig(r=2, target_modules=LANGUAGE_MODEL_LINEARS))
        except ValueError as error:
            pytest.skip(f"this Transformers does not work with this PEFT: {error}")
        with pytest.raises(ValueError, match=r"its own add_adapter\(\) .*: give the model without it"):
            make_trainer(model, processor, items, tmp_path)

    def test_a_saved_adapter_of_another_kind_is_not_loaded(self, parts, tmp_path):
        make_config("PREFIX_TUNING").save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="no adapter of the kind PREFIX_TUNING"):
            load_adapter(parts[0], tmp_path)


class TestDefaults:
    @staticmethod
    def adapted(model, config, prefix):
        """The modules of the network that hold parameters of an adapter, whose names contain a prefix of PEFT's."""
        wrapped = peft.get_peft_model(model, complete_peft_config(config))
        return {name.split(f".{prefix}")[0] for name, _ in wrapped.named_parameters() if f".{prefix}" in name}

    def test_layer_norm_tuning_is_of_the_norms(self, parts):
        names = self.adapted(parts[0], peft.LNTuningConfig(), "ln_tuning_layers")
        core = "base_model.model.model.language_model"
        layers = {f"{core}.layers.{i}.{n}_layernorm" for i in (0, 1) for n in ("input", "post_attention")}
        assert names == layers | {f"{core}.norm"}

    def test_ia3_is_of_keys_values_and_the_last_layer_of_the_feed_forward(self, parts):
        names = self.adapted(parts[0], peft.IA3Config(), "ia3_l")
        assert {name.rpartition(".")[2] for name in names} == {"k_proj", "v_proj", "down_proj"}
        assert all(".language_model.layers." in name for name in names)

    @pytest.mark.parametrize(
        ("target_modules", "layers"),
        [
            (["q_proj", "v_proj"], {"q_proj", "v_proj"}),
            (r".*\.(q_proj|up_proj)", {"q_proj", "up_proj"}),
            ("all-linear", {f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")}),
        ],
    )
    def test_methods_without_exclusions_leave_the_vision_tower_alone_too(self, parts, target_modules, layers):
        names = self.adapted(parts[0], peft.C3AConfig(block_size=16, target_modules=target_modules), "c3a_")
        assert {name.rpartition(".")[2] for name in names} == layers
        assert all(".language_model.layers." in name for name in names)
