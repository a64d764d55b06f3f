# SPDX-License-Identifier: Apache-2.0
"""Batches that are made beside the training: by whom, and that it makes no difference."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from geodit.trainers.data_loading import WorkerStart, default_num_workers, start_workers_well
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

linux = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked, and told who has sent a signal")


class Pids(Dataset):
    """The process that makes an item."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return os.getpid()


@linux
@pytest.mark.parametrize(
    ("cuda", "cores", "processes", "expected"),
    [(False, 64, 1, 0), (True, 1, 1, 0), (True, 2, 1, 1), (True, 16, 1, 4), (True, 16, 8, 1), (True, 8, 8, 0)],
)
def test_a_gpu_gets_workers_where_cores_are_to_spare(cuda, cores, processes, expected):
    assert default_num_workers(cuda=cuda, num_cores=cores, num_processes=processes) == expected


def test_other_systems_get_none(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert default_num_workers(cuda=True, num_cores=64, num_processes=1) == 0


def arguments(monkeypatch, cuda, **given):
    """Arguments where there is a CUDA device, or so they believe when they fill in what is open."""
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "is_available", lambda: cuda)
        patched.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
        # The device itself is looked for afterwards.
        patched.setattr(GeoDiTTrainingArguments, "check_numbers", lambda _: patched.undo())
        return GeoDiTTrainingArguments(report_to="none", **given)


@linux
def test_arguments_fill_in_what_is_left_open(monkeypatch, tmp_path):
    folder = str(tmp_path)
    on_gpu = arguments(monkeypatch, True, output_dir=folder)
    assert on_gpu.dataloader_num_workers == 4
    assert on_gpu.accelerator_config.non_blocking
    on_cpu = arguments(monkeypatch, False, output_dir=folder)
    assert on_cpu.dataloader_num_workers == 0
    assert not on_cpu.accelerator_config.non_blocking
    assert arguments(monkeypatch, True, output_dir=folder, use_cpu=True).dataloader_num_workers == 0


@linux
def test_what_is_given_stays(monkeypatch, tmp_path):
    given = arguments(
        monkeypatch,
        True,
        output_dir=str(tmp_path),
        dataloader_num_workers=0,
        accelerator_config={"non_blocking": False, "even_batches": False},
    )
    assert given.dataloader_num_workers == 0
    assert not given.accelerator_config.non_blocking
    assert not given.accelerator_config.even_batches


def test_a_negative_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="dataloader_num_workers must be a number from 0 on, got -1"):
        GeoDiTTrainingArguments(output_dir=str(tmp_path), dataloader_num_workers=-1)


def test_workers_change_nothing(make_trainer, make_model, items, tmp_path):
    """Two epochs in random order, with evaluations between: the same losses."""
    logs = []
    for workers in (0, 2):
        trainer = make_trainer(
            *make_model(),
            items,
            tmp_path / str(workers),
            eval_items=items[:5],
            dataloader_num_workers=workers,
            train_sampling_strategy="random",
            max_steps=4,
            logging_steps=1,
            eval_strategy="steps",
            eval_steps=2,
        )
        trainer.train()
        log = trainer.state.log_history
        logs.append([{name: value for name, value in line.items() if "loss" in name} for line in log])
    assert logs[0] == logs[1]
    assert len(logs[0]) == 7


@linux
def test_a_signal_to_all_processes_leaves_the_workers_at_work():
    loader = DataLoader(Pids(), num_workers=1)
    start_workers_well(loader)
    batches = iter(loader)
    pid = int(next(batches))
    assert pid != os.getpid()
    for name in ("TERM", "HUP"):
        subprocess.run(["kill", f"-{name}", str(pid)], check=True)  # not by the process that it works for
        assert int(next(batches)) == pid
    assert {int(batch) for batch in batches} == {pid}  # many more than were made in advance


@linux
def test_the_process_that_it_works_for_can_end_a_worker():
    loader = DataLoader(Pids(), num_workers=1)
    start_workers_well(loader)
    batches = iter(loader)
    next(batches)
    worker = batches._workers[0]
    # As PyTorch does with workers that do not end when they are asked to.
    previous = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's would take this for an accident
    try:
        worker.terminate()
        worker.join(60)
        assert worker.exitcode == 0
    finally:
        signal.signal(signal.SIGCHLD, previous)


class Stream(IterableDataset):
    """Nothing to read."""

    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(("by_default", "expected"), [(True, 0), (False, 2)])
def test_a_stream_gets_workers_only_where_they_are_asked_for(
    model_and_processor, tmp_path, where_to_train, by_default, expected
):
    """As each of them would read all of it."""
    arguments = GeoDiTTrainingArguments(str(tmp_path), report_to="none", max_steps=1, **where_to_train)
    arguments.dataloader_num_workers, arguments.has_default_workers = 2, by_default
    model, processor = model_and_processor
    trainer = GeoDiTTrainer(model, arguments, processing_class=processor, train_dataset=Stream())
    assert trainer.args.dataloader_num_workers == expected


def test_loaders_of_a_trainer_start_their_workers_well(make_trainer, model_and_processor, items, tmp_path):
    trainer = make_trainer(
        *model_and_processor,
        items,
        tmp_path,
        eval_items=items,
        dataloader_num_workers=1,
        dataloader_persistent_workers=True,
    )
    for get in (trainer.get_train_dataloader, trainer.get_eval_dataloader, trainer.get_eval_dataloader):
        start = get().base_dataloader.worker_init_fn
        assert isinstance(start, WorkerStart)
        assert not isinstance(start.then, WorkerStart)
