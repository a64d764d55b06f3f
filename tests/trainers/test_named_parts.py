# SPDX-License-Identifier: Apache-2.0
"""A Trainer that is given a model by name, and no processor: what it finds, and what it asks for."""

import shutil

import pytest
import torch
from transformers import AutoTokenizer

import geodit
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.grpo.arguments import GeoDiTGRPOConfig
from geodit.trainers.grpo.trainer import GeoDiTGRPOTrainer
from geodit.trainers.lora import LANGUAGE_MODEL_LINEARS
from geodit.trainers.named_parts import load_named_model
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments


@pytest.fixture
def args(tmp_path):
    return GeoDiTTrainingArguments(
        output_dir=str(tmp_path / "run"),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        max_steps=1,
        save_strategy="no",
        per_device_train_batch_size=2,
    )


def test_a_model_is_loaded_by_its_name_with_its_processor(base, items, args):
    trainer = GeoDiTTrainer(str(base), args, train_dataset=items)
    expected = GeoDiTForMaskedDiffusion.from_pretrained(base).state_dict()
    assert all(value.equal(expected[name]) for name, value in trainer.model.state_dict().items())
    assert trainer.processing_class.to_dict() == GeoDiTProcessor.from_pretrained(base).to_dict()
    trainer.train()
    trainer.save_model()
    GeoDiTTrainer(args.output_dir, args, train_dataset=items)


def test_a_path_is_a_name_and_so_is_that_of_the_bundled_checkpoint(base):
    assert load_named_model(base).config.text_config.hidden_size == 32
    bundled = load_named_model("geodit-tiny")
    assert GeoDiTForMaskedDiffusion.from_pretrained(geodit.bundled_checkpoint()).dtype == torch.bfloat16
    assert bundled.dtype == torch.float32, "updates of bfloat16 weights would be rounded away"


def test_grpo_takes_a_name_too(base, items, tmp_path):
    args = GeoDiTGRPOConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none", num_generations=2)
    named = [{**item, "image_id": "a", "question_index": 0} for item in items]
    trainer = GeoDiTGRPOTrainer(str(base), args, GeoDiTProcessor.from_pretrained(base), train_dataset=named)
    assert isinstance(trainer.model, GeoDiTForMaskedDiffusion)


def test_an_adapter_is_trained_on_a_named_base(base, items, args):
    peft = pytest.importorskip("peft")
    trainer = GeoDiTTrainer(str(base), args, peft_config=peft.LoraConfig(r=2), train_dataset=items)
    trainer.train()
    trainer.save_model()
    assert peft.PeftConfig.from_pretrained(args.output_dir).base_model_name_or_path == str(base)


def test_the_canvas_of_conversations_is_that_of_generate(base, items, args):
    model = GeoDiTForMaskedDiffusion.from_pretrained(base)
    model.generation_config.max_new_tokens = 24
    trainer = GeoDiTTrainer(model, args, eval_dataset=items)
    assert trainer.data_collator.max_new_tokens == 24


def test_a_collator_of_ones_own_needs_no_processor(base, items, args):
    collate = GeoDiTDataCollator(GeoDiTProcessor.from_pretrained(base))
    trainer = GeoDiTTrainer(str(base), args, data_collator=collate, train_dataset=items)
    assert trainer.processing_class is None
    assert trainer.data_collator is collate


class TestErrors:
    def test_a_new_model_has_no_processor_to_be_found(self, model_and_processor, items, args):
        model, _ = model_and_processor
        with pytest.raises(ValueError, match=r"not loaded from a checkpoint .*: give processing_class"):
            GeoDiTTrainer(model, args, train_dataset=items)

    def test_a_checkpoint_without_one(self, base, items, args, tmp_path):
        bare = tmp_path / "bare"
        bare.mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copy(base / name, bare)
        with pytest.raises(ValueError, match=r"No processor could be loaded from .*bare, .*: give processing_class"):
            GeoDiTTrainer(str(bare), args, train_dataset=items)

    def test_model_init_does_not_say_which_processor(self, base, items, args):
        with pytest.raises(ValueError, match="With model_init give processing_class"):
            GeoDiTTrainer(args=args, model_init=lambda: load_named_model(base), train_dataset=items)

    def test_a_tokenizer_is_no_processor(self, base, items, args):
        tokenizer = AutoTokenizer.from_pretrained(base)
        with pytest.raises(ValueError, match=r"processing_class must be a GeoDiTProcessor, got \w+: load it with"):
            GeoDiTTrainer(str(base), args, processing_class=tokenizer, train_dataset=items)

    def test_a_model_of_another_kind(self, args):
        with pytest.raises(ValueError, match="model must be a GeoDiTForMaskedDiffusion or the name of one, got dict"):
            GeoDiTTrainer({}, args)

    def test_a_name_of_nothing(self, args):
        with pytest.raises(OSError, match="nowhere"):
            GeoDiTTrainer("nowhere/at/all", args)

    def test_an_adapter_says_of_what(self, base, args, tmp_path):
        peft = pytest.importorskip("peft")
        model = GeoDiTForMaskedDiffusion.from_pretrained(base)
        peft.get_peft_model(model, peft.LoraConfig(target_modules=LANGUAGE_MODEL_LINEARS)).save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=rf"is an adapter of {base}: .* PeftModel.from_pretrained\("):
            GeoDiTTrainer(str(tmp_path), args)
