# SPDX-License-Identifier: Apache-2.0
"""Training loops that are not ours: the loss is right where the canvas is masked, and refused where it is not."""

import datasets
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from transformers import Trainer, TrainingArguments

from geodit.modeling_geodit.diffusion_geodit import check_masked_labels, forward_process, labelled_loss
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.lora import LANGUAGE_MODEL_LINEARS
from tiny_models import build_model

VISIBLE = r"no position that has one holds \[M\] .* Train with GeoDiTTrainer, or mask the canvas with forward_process"


@pytest.fixture
def batch(model_and_processor, items):
    """What the collator makes of the items: everything is visible."""
    return GeoDiTDataCollator(model_and_processor[1])(items)


@pytest.fixture
def masked(model_and_processor, batch):
    """The same, masked as a loop of one's own does it: labels stand at masked positions only."""
    canvas = batch["labels"] != -100
    noise = torch.Generator().manual_seed(0)
    noised = forward_process(batch["input_ids"], canvas, model_and_processor[0].config.mask_token_id, generator=noise)
    labels = batch["labels"].masked_fill(~noised.masked, -100)
    return {**batch, "input_ids": noised.input_ids, "labels": labels, "canvas_mask": canvas}


def first_update(model, batch, folder, batch_size, accumulation, **arguments):
    """Loss and norm of the gradient of one update by the Trainer of Transformers."""
    rows = [{name: value[row] for name, value in batch.items()} for row in range(len(batch["input_ids"]))]
    settings = {"max_steps": 1, "logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    args = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        **settings,
        **arguments,
    )
    trainer = Trainer(model=model, args=args, train_dataset=rows)
    trainer.train()
    return next((entry["loss"], entry["grad_norm"]) for entry in trainer.state.log_history if "loss" in entry)


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("average_tokens_across_devices", [True, False])
def test_an_update_of_the_stock_trainer_does_not_depend_on_how_the_batch_is_cut(
    make_model, masked, tmp_path, adapter, average_tokens_across_devices
):
    counts = (masked["labels"] != -100).sum(-1)
    assert counts.unique().numel() > 2, "with equal counts a mean of means would do"
    updates = []
    for cut in ((8, 1), (2, 4), (1, 8)):
        model, _ = make_model()
        if adapter:
            peft = pytest.importorskip("peft")
            config = peft.LoraConfig(r=2, target_modules=LANGUAGE_MODEL_LINEARS, task_type="CAUSAL_LM")
            model = peft.get_peft_model(model, config)
        averaging = {"average_tokens_across_devices": average_tokens_across_devices}
        updates.append(first_update(model, masked, tmp_path, *cut, **averaging))
    expected = make_model()[0](**masked).loss.item()  # an adapter begins as nothing
    for loss, grad_norm in updates:
        assert loss == pytest.approx(expected, rel=1e-5)
        assert grad_norm == pytest.approx(updates[0][1], rel=1e-4)


def test_the_losses_of_micro_batches_add_up(model_and_processor, masked):
    model, _ = model_and_processor
    whole = model(**masked).loss
    total = (masked["labels"] != -100).sum()
    parts = [{name: value[rows] for name, value in masked.items()} for rows in (slice(0, 3), slice(3, 8))]
    for num_items in (total, int(total), total.reshape(1, 1)):
        losses = [model(**part, num_items_in_batch=num_items).loss for part in parts]
        assert losses[0].shape == ()
        torch.testing.assert_close(sum(losses), whole)


def test_a_batch_without_labels_has_no_loss_and_moves_nothing(model_and_processor, masked):
    model, _ = model_and_processor
    nothing = torch.full_like(masked["labels"], -100)
    loss = model.train()(**{**masked, "labels": nothing}).loss
    loss.backward()
    assert loss.item() == 0
    assert all(not value.grad.any() for value in model.parameters() if value.grad is not None)


class TestVisibleLabels:
    def test_they_are_refused_in_training(self, model_and_processor, batch, tmp_path):
        model, _ = model_and_processor
        with pytest.raises(ValueError, match=VISIBLE):
            model.train()(**batch)
        with pytest.raises(ValueError, match=VISIBLE):
            first_update(model, batch, tmp_path, 8, 1)

    def test_they_are_refused_through_an_adapter_and_under_checkpointing(self, model_and_processor, batch, masked):
        peft = pytest.importorskip("peft")
        config = peft.LoraConfig(r=2, target_modules=LANGUAGE_MODEL_LINEARS, task_type="CAUSAL_LM")
        model = peft.get_peft_model(model_and_processor[0], config).train()
        model.gradient_checkpointing_enable()  # activation_checkpointing_enable from Transformers 5.23 on
        with pytest.raises(ValueError, match=VISIBLE):
            model(**batch)
        model(**masked).loss.backward()

    @pytest.mark.parametrize("trainer", ["messages", "text"])
    def test_sft_trainer_is_refused(self, model_and_processor, items, tmp_path, trainer):
        """It calls the backbone, with a head of its own that predicts the next token."""
        trl = pytest.importorskip("trl")
        model, processor = model_and_processor
        turns = [
            {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "Detect: ship."}]},
            {"role": "assistant", "content": [{"type": "text", "text": "none"}]},
        ]
        rows = {"messages": [turns] * 2, "images": [[item["image"]] for item in items[:2]]}
        if trainer == "text":
            rows = {"text": ["How many ships are there?"] * 2}
        args = trl.SFTConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_steps=1, max_length=None
        )
        dataset = datasets.Dataset.from_dict(rows)
        sft = trl.SFTTrainer(model, args, train_dataset=dataset, processing_class=processor)
        with pytest.raises(ValueError, match=r"trl's SFTTrainer, trains GeoDiT wrongly. Use GeoDiTTrainer"):
            sft.train()

    def test_they_count_beside_masked_ones(self, model_and_processor, batch, masked):
        model, _ = model_and_processor
        output = model.train()(**{**masked, "labels": batch["labels"]})
        torch.testing.assert_close(output.loss, labelled_loss(output.logits, batch["labels"]))

    def test_they_are_allowed_where_nothing_is_learnt(self, model_and_processor, batch):
        model, _ = model_and_processor
        assert model.eval()(**batch).loss.isfinite()
        with torch.no_grad():
            assert model.train()(**batch).loss.isfinite()

    def test_embeddings_alone_cannot_be_checked(self, model_and_processor, batch):
        model, _ = model_and_processor
        embeds = model.get_input_embeddings()(batch["input_ids"])
        assert model.train()(inputs_embeds=embeds, labels=batch["labels"]).loss.isfinite()
        with pytest.raises(ValueError, match=VISIBLE):
            model(input_ids=batch["input_ids"], inputs_embeds=embeds, labels=batch["labels"])

    def test_a_gpu_is_not_waited_for(self):
        """Reading a value of a fake tensor raises an error, as there is none to be read."""
        with FakeTensorMode():
            ids = torch.ones(2, 3, dtype=torch.long, device="cuda")
            check_masked_labels(ids, ids, 2)
            with pytest.raises(DataDependentOutputException):
                check_masked_labels(ids.to("cpu"), ids.to("cpu"), 2)
            labels = torch.ones(2, 3, dtype=torch.long)
            for num_items in (None, 3, torch.ones(1, 1)):
                assert labelled_loss(torch.randn(2, 3, 5), labels, num_items).shape == ()

    def test_compiled_code_checks_without_leaving_the_graph(self, batch, masked, model_and_processor):
        mask_token_id = model_and_processor[0].config.mask_token_id

        @torch.compile(fullgraph=True, backend="aot_eager")
        def check(input_ids, labels):
            check_masked_labels(input_ids, labels, mask_token_id)
            return labels + 1

        check(masked["input_ids"], masked["labels"])
        with pytest.raises(RuntimeError, match=r"no position that has one holds \[M\]"):
            check(batch["input_ids"], batch["labels"])

    def test_a_compiled_model_is_trained_and_refuses_them(self, batch, masked, device):
        """With one layer: all layers are traced, and take their time."""
        model = build_model(text={"num_hidden_layers": 1})[0].to(device)
        masked.pop("canvas_mask")  # which a batch of visible labels has none of
        expected = model(**masked).loss
        compiled = torch.compile(model.train(), backend="eager")
        torch.testing.assert_close(compiled(**masked).loss, expected)
        with pytest.raises((ValueError, RuntimeError), match=r"no position that has one holds \[M\]"):
            compiled(**batch)
