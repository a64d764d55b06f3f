# SPDX-License-Identifier: Apache-2.0
"""Training on a stream: every process has its share, and a resumed run goes on where the stream stood."""

import functools
import json

import pytest
import torch

from geodit.data.schema import make_dataset, make_row
from geodit.data.streaming import QuestionStream
from geodit.trainers.training_arguments import GeoDiTTrainingArguments


@pytest.fixture
def stream(items):
    rows = [make_row(item["image"], f"image{index}", [item["question"]]) for index, item in enumerate(items)]
    return QuestionStream(make_dataset(rows).to_iterable_dataset(num_shards=2), block_size=3)


@pytest.fixture(scope="module")
def make_trainer(make_trainer):
    return functools.partial(
        make_trainer,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_steps=4,
        save_strategy="steps",
        save_steps=2,
        learning_rate=1e-2,
    )


@pytest.mark.parametrize("position", ["saved", "lost"])
def test_a_resumed_run_is_the_run_that_was_not_stopped(
    model_and_processor, stream, tmp_path, monkeypatch, position, make_trainer
):
    model, processor = model_and_processor
    start = {name: value.clone() for name, value in model.state_dict().items()}
    make_trainer(model, processor, stream, tmp_path).train()
    expected = {name: value.clone() for name, value in model.state_dict().items()}

    saved, at_the_end = (tmp_path / f"checkpoint-{step}" / "stream_position_0.json" for step in (2, 4))
    assert saved.name in json.loads((saved.parent / "checkpoint_files.json").read_text())
    expected_end = at_the_end.read_text()
    if position == "lost":  # as in a checkpoint that another Trainer has written
        saved.unlink()
        (saved.parent / "checkpoint_files.json").unlink()
    decoded = []
    decode = QuestionStream._item
    monkeypatch.setattr(QuestionStream, "_item", lambda *args: decoded.append(args) or decode(*args))
    model.load_state_dict(start)
    make_trainer(model, processor, stream, tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for name, value in model.state_dict().items():
        assert value.equal(expected[name]), name
    # The checkpoints that follow are right even if the first one's position was lost.
    assert at_the_end.read_text() == expected_end
    # Two updates of two batches of two, and one batch that is read ahead; without a position, all over again.
    assert len(decoded) == (10 if position == "saved" else 18)


def test_a_stream_needs_a_number_of_steps(model_and_processor, stream, tmp_path, make_trainer):
    with pytest.raises(ValueError, match="max_steps"):
        make_trainer(*model_and_processor, stream, tmp_path, max_steps=-1)


def test_a_stream_is_not_grouped_by_length(model_and_processor, stream, tmp_path, make_trainer):
    with pytest.raises(ValueError, match="leave train_sampling_strategy out"):
        make_trainer(*model_and_processor, stream, tmp_path, train_sampling_strategy="group_by_length")


def test_training_again_begins_again(model_and_processor, stream, tmp_path, make_trainer):
    trainer = make_trainer(*model_and_processor, stream, tmp_path)
    trainer.train()
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert trainer.train_dataset.start.num_items == 8
    trainer.train()
    assert trainer.train_dataset.start.num_items == 0
    assert not trainer.args.ignore_data_skip


def test_a_damaged_position_is_named(model_and_processor, stream, tmp_path, make_trainer):
    make_trainer(*model_and_processor, stream, tmp_path).train()
    saved = tmp_path / "checkpoint-4" / "stream_position_0.json"
    saved.write_text("{" * saved.stat().st_size)
    with pytest.raises(ValueError, match=r"stream_position_0.json is damaged .*Resume from .*checkpoint-2 instead"):
        make_trainer(*model_and_processor, stream, tmp_path).train(resume_from_checkpoint=str(saved.parent))


def test_workers_read_a_stream_too(model_and_processor, stream, tmp_path, make_trainer):
    trainer = make_trainer(*model_and_processor, stream, tmp_path, dataloader_num_workers=2)
    trainer.train()
    assert trainer.state.global_step == 4
    assert torch.isfinite(torch.tensor(trainer.state.log_history[-1]["train_loss"]))
    assert not (tmp_path / "checkpoint-2" / "stream_position_0.json").exists()


def test_iterable_data_sets_are_not_dealt_out_by_the_main_process(tmp_path):
    args = GeoDiTTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert args.accelerator_config.dispatch_batches is False
