# SPDX-License-Identifier: Apache-2.0
"""A run that is killed, told to end, or out of disk goes on from its last checkpoint as if nothing had happened."""

import errno
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.trainers.data_collator import GeoDiTDataCollator

CLIENT = Path(__file__).with_name("killed_client.py")
# Two updates an epoch, each of two micro-batches, so that checkpoints stand within an epoch and at its end.
RUN = {
    "max_steps": 6,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "train_sampling_strategy": "group_by_length",
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": 1,
    "eval_strategy": "steps",
    "eval_steps": 3,
    "seed": 3,
}
# After how many updates a run is killed, by where: within the next one, or while it saves.
KILLS = {"update": 3, "save": 5}


@pytest.fixture(scope="module")
def start(make_model, tmp_path_factory) -> Path:
    """A model with dropout, for which the random numbers of PyTorch matter."""
    folder = tmp_path_factory.mktemp("start")
    for part in make_model(attention_dropout=0.3):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trainer_in(start, make_trainer, shared_items):
    """Builds the Trainer of the run for an output folder."""

    def build(folder, **arguments):
        model = GeoDiTForMaskedDiffusion.from_pretrained(start)
        processor = GeoDiTProcessor.from_pretrained(start)
        return make_trainer(
            model, processor, shared_items, folder, eval_items=shared_items[:3], **{**RUN, **arguments}
        )

    return build


@pytest.fixture(scope="module")
def killed(start, where_to_train, training_programs, tmp_path_factory) -> dict[str, Path]:
    """The output folders of two runs that SIGKILL has ended, by where it hit them."""
    folders = {place: tmp_path_factory.mktemp(place) for place in KILLS}
    arguments = json.dumps(RUN | where_to_train)
    for place, folder in folders.items():
        finished = training_programs.run([CLIENT, start, folder, arguments, place, KILLS[place]])
        assert finished.returncode == -signal.SIGKILL, finished.stderr
    return folders


def finish(trainer, resume=None):
    """Train to the end; the weights then, and the log without what a clock has measured."""
    trainer.train(resume_from_checkpoint=resume)
    log = [
        {name: value for name, value in entry.items() if not name.endswith(("_runtime", "_per_second"))}
        for entry in trainer.state.log_history
        if "train_loss" not in entry
    ]
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}, log


@pytest.fixture(scope="module")
def whole(trainer_in, tmp_path_factory):
    """Weights and log of the run that was never stopped."""
    return finish(trainer_in(tmp_path_factory.mktemp("whole")))


def assert_same_run(found, expected):
    assert found[1] == expected[1]
    for name, value in expected[0].items():
        assert found[0][name].equal(value), name


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


@pytest.mark.parametrize("place", KILLS)
def test_a_killed_run_goes_on_bit_for_bit(trainer_in, killed, whole, place):
    """Losses by task and quartile, gradient norms, learning rates, evaluations and weights: all of them the same."""
    folder = killed[place]
    # What SIGKILL has interrupted is no checkpoint.
    complete = [f"checkpoint-{step}" for step in range(1, 4 if place == "update" else 5)]
    assert checkpoints(folder) == [".geodit-run", *complete]
    assert (folder / ".geodit-run" / "incomplete").is_dir() == (place == "save")
    assert_same_run(finish(trainer_in(folder), resume=True), whole)
    assert checkpoints(folder) == [f"checkpoint-{step}" for step in range(1, 7)]


class Signal(TrainerCallback):
    """Sends a signal to this process within an update."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_substep_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_to_end_finishes_the_update_saves_and_exits(trainer_in, whole, tmp_path, number, code):
    handler = signal.getsignal(number)
    trainer = trainer_in(tmp_path, save_steps=100)
    trainer.add_callback(Signal(2, number))
    with pytest.raises(SystemExit) as caught:
        trainer.train()
    assert caught.value.code == code
    assert signal.getsignal(number) is handler
    assert checkpoints(tmp_path) == ["checkpoint-3"]
    # The evaluation that was due with that update has been left out, to be in time.
    log = [entry for entry in whole[1] if not ("eval_loss" in entry and entry["step"] == 3)]
    assert_same_run(finish(trainer_in(tmp_path), resume="auto"), (whole[0], log))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_at_its_end_makes_no_other_update_and_has_the_weights_of_its_checkpoint(trainer_in, tmp_path, caplog):
    arguments = {"max_steps": 3, "eval_strategy": "no"}  # one and a half epochs
    expected, log = finish(trainer_in(tmp_path, **arguments))
    before = files(tmp_path)
    for _ in range(2):
        trainer = trainer_in(tmp_path, **arguments)
        found = finish(trainer, resume="auto")
        assert trainer.state.global_step == 3
        assert_same_run((found[0], [entry for entry in found[1] if "loss" in entry]), (expected, log))
        assert not any("train_loss" in entry for entry in trainer.state.log_history)
    assert files(tmp_path) == before
    assert "Already finished: update 3 of 3 was the last" in caplog.text
    trainer = trainer_in(tmp_path, **arguments | {"max_steps": 4})
    trainer.train(resume_from_checkpoint="auto")
    assert (trainer.state.global_step, checkpoints(tmp_path)[-1]) == (4, "checkpoint-4")


def test_a_run_is_finished_when_its_log_has_the_last_update_that_was_asked_for(trainer_in, tmp_path):
    arguments = {"max_steps": 3, "eval_strategy": "no"}
    trainer = trainer_in(tmp_path, **arguments)
    trainer.train()
    assert not trainer.is_finished("auto")
    trainer.save_model()
    (tmp_path / "training_log.jsonl").write_text('{"train_runtime": 1, "step": 3}\n')
    asked = {"auto": True, "true": True, None: False, str(tmp_path / "checkpoint-2"): False}
    asked |= {str(tmp_path / "checkpoint-3"): True}
    assert {resume: trainer.is_finished(resume) for resume in asked} == asked
    assert not trainer_in(tmp_path, **arguments | {"max_steps": 4}).is_finished("auto")
    assert trainer_in(tmp_path, **arguments | {"max_steps": 2}).is_finished("auto")


def test_a_new_run_replaces_an_earlier_one_when_it_is_told_to(trainer_in, tmp_path):
    trainer = trainer_in(tmp_path, max_steps=2, eval_strategy="no")
    trainer.train()
    trainer.save_model()
    before = files(tmp_path)
    new = {"max_steps": 1, "eval_strategy": "no", "save_total_limit": 1}
    with pytest.raises(ValueError, match=r"holds checkpoint-1, checkpoint-2, model\.safetensors of an earlier run"):
        trainer_in(tmp_path, **new).train()
    assert files(tmp_path) == before

    class Look(TrainerCallback):
        def on_substep_end(self, args, state, control, **kwargs):
            self.aside = files(tmp_path / "replaced-1")

    look = Look()
    trainer = trainer_in(tmp_path, **new, overwrite_output_dir=True)
    trainer.add_callback(look)
    trainer.train()
    assert look.aside == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_the_folder_of_the_model_is_never_overwritten(trainer_in, start, tmp_path):
    folder = tmp_path / "start"
    shutil.copytree(start, folder)
    (folder / "training_log.jsonl").touch()
    trainer = trainer_in(folder, overwrite_output_dir=True)
    trainer.model.config._name_or_path = str(folder)
    with pytest.raises(ValueError, match=r"not overwritten: the model .* lies in it, which the run starts from"):
        trainer.train()
    assert (folder / "model.safetensors").read_bytes() == (start / "model.safetensors").read_bytes()


@pytest.mark.parametrize("how", ["no space left", "a limit that the system enforces"])
def test_a_full_disk_is_one_error_and_the_last_checkpoint_stays(trainer_in, whole, tmp_path, monkeypatch, how):
    trainer = trainer_in(tmp_path, save_steps=2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    class FullDisk(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step != 4:
                return
            if how == "no space left":
                error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                monkeypatch.setattr(torch, "save", lambda *args, **kwargs: (_ for _ in ()).throw(error))
            else:
                resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))

    trainer.add_callback(FullDisk())
    try:
        with pytest.raises(OSError, match=r"checkpoint-4 could not be saved .*The last complete .*checkpoint-2;"):
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        monkeypatch.undo()
    assert checkpoints(tmp_path) == ["checkpoint-2"]
    assert_same_run(finish(trainer_in(tmp_path), resume=True), whole)


def test_a_full_disk_leaves_the_model_that_was_saved_before(trainer_in, tmp_path):
    trainer = trainer_in(tmp_path)
    trainer.save_model()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with pytest.raises(OSError, match="The model could not be saved"):
            trainer.save_model()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_broken_checkpoint_is_passed_over_or_refused(trainer_in, tmp_path):
    trainer_in(tmp_path, max_steps=4, save_steps=2).train()
    weights = tmp_path / "checkpoint-4" / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 100)
    with pytest.raises(
        ValueError, match=r"checkpoint-4 is not a complete .*model.safetensors has .* bytes. Resume fr"
    ):
        trainer_in(tmp_path).train(resume_from_checkpoint=str(weights.parent))
    found = finish(trainer_in(tmp_path, save_steps=2), resume=True)
    assert [entry["step"] for entry in found[1] if "loss" in entry] == list(range(1, 7))
    assert checkpoints(tmp_path) == ["broken-checkpoint-4", "checkpoint-2", "checkpoint-4", "checkpoint-6"]


def test_there_must_be_a_checkpoint_unless_it_is_automatic(trainer_in, tmp_path):
    with pytest.raises(ValueError, match=r"no complete checkpoint in .* resume_from_checkpoint=auto"):
        trainer_in(tmp_path).train(resume_from_checkpoint=True)
    trainer = trainer_in(tmp_path, max_steps=1)
    trainer.train(resume_from_checkpoint="auto")
    assert trainer.state.global_step == 1


def test_the_best_checkpoint_is_known_by_its_final_name(trainer_in, tmp_path):
    trainer = trainer_in(
        tmp_path,
        max_steps=4,
        eval_steps=1,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
    )
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    assert best.parent == tmp_path
    assert best.is_dir()
    assert len(checkpoints(tmp_path)) == 2
    state = json.loads((tmp_path / "checkpoint-4" / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(best)


class Poison(GeoDiTDataCollator):
    """Makes the pixels of one image nan."""

    def __call__(self, items):
        batch = super().__call__(items)
        for row, item in enumerate(items):
            if item["image_id"] == "field_7":
                batch["pixel_values"][row] = float("nan")
        return batch


def test_a_loss_that_is_not_finite_names_its_items_and_changes_nothing(trainer_in, start, shared_items, tmp_path):
    trainer = trainer_in(tmp_path, train_sampling_strategy="sequential")
    trainer.train_dataset = [
        {**item, "image_id": f"field_{index}", "question_index": 2} for index, item in enumerate(shared_items)
    ]
    trainer.data_collator = Poison(GeoDiTProcessor.from_pretrained(start))
    message = r"update 2: the loss is nan for a batch of the items field_6#2, field_7#2\."
    with pytest.raises(FloatingPointError, match=message):
        trainer.train()
    assert checkpoints(tmp_path) == ["checkpoint-1"]
    saved = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path / "checkpoint-1").to(trainer.model.device).state_dict()
    for name, value in trainer.model.state_dict().items():
        assert value.equal(saved[name]), name
