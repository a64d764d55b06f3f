# SPDX-License-Identifier: Apache-2.0
"""Training on a stream: each process reads its own share, and a resumed run goes on where the stream stood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput, get_last_checkpoint

from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.text_files import read_json_object
from geodit.data.streaming import QuestionStream, StreamPosition
from geodit.trainers.distribution import accelerator_config


class StreamingTrainer(Trainer):
    """[`~transformers.Trainer`] that also trains on a [`QuestionStream`].

    By default accelerate reads an iterable data set in the main process and sends the others their batches, or lets
    every process read everything. Here the stream is split by process before anything is decoded.

    Each checkpoint holds the position of every process in the stream, so that a resumed run does not read what came
    before. Where there is none, as with `dataloader_num_workers`, whose copies of the stream are out of reach, Trainer
    reads up to the place and throws away what it reads.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.train_dataset, QuestionStream):
            if self.train_dataset.world_size == 1:
                self.train_dataset = self.train_dataset.split_by_process(
                    self.accelerator.process_index, self.accelerator.num_processes
                )
            if self.args.train_sampling_strategy == "group_by_length":
                raise ValueError(
                    "A stream does not know the lengths of what is to come: leave train_sampling_strategy out."
                )
            self._beginning = self.train_dataset.start
            self._step_of_start = 0

    def get_train_dataloader(self) -> DataLoader[object]:
        """Return Trainer's own loader, but for a stream, of which each process has its share already."""
        if not isinstance(self.train_dataset, QuestionStream):
            loader: DataLoader[object] = super().get_train_dataloader()
            return loader
        args = self.args
        loader = DataLoader(
            self.train_dataset,
            batch_size=self._train_batch_size,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            multiprocessing_context=args.dataloader_multiprocessing_context,
            in_order=args.dataloader_in_order,
            # One of its own, so that starting to read draws nothing from the global one.
            generator=torch.Generator().manual_seed(args.seed),
        )
        own_loader: DataLoader[object] = prepare_data_loader(
            loader,
            self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            dispatch_batches=False,
            non_blocking=accelerator_config(args).non_blocking,
        )
        return own_loader

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: object = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """See [`~transformers.Trainer.train`]; a stream starts where the checkpoint left it."""
        stream = self.train_dataset
        if not isinstance(stream, QuestionStream):
            return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        folder = resume_from_checkpoint or None
        if folder is True:
            folder = get_last_checkpoint(str(self.args.output_dir))
        position = None if folder is None else _read_position(Path(folder), self.args.process_index)
        stream.start_at(position or self._beginning)
        ignore_data_skip = self.args.ignore_data_skip
        # There is nothing to skip where the stream begins after it.
        self.args.ignore_data_skip = ignore_data_skip or position is not None
        self._step_of_start = 0
        if folder is not None and self.args.ignore_data_skip:
            self._step_of_start = TrainerState.load_from_json(str(Path(folder) / TRAINER_STATE_NAME)).global_step
        try:
            return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        finally:
            self.args.ignore_data_skip = ignore_data_skip

    def _save_rng_state(self, output_dir: str) -> None:
        """Save where the stream of this process stands beside its random numbers, while the checkpoint is written."""
        super()._save_rng_state(output_dir)
        stream, args = self.train_dataset, self.args
        if not isinstance(stream, QuestionStream) or args.dataloader_num_workers:
            return
        # The loader reads ahead: what counts is what was trained on.
        num_batches = (self.state.global_step - self._step_of_start) * args.gradient_accumulation_steps
        position = stream.position_at(stream.start.num_items + num_batches * self._train_batch_size)
        content = json.dumps(position.to_dict()).encode()
        write_atomically(_position_file(Path(output_dir), args.process_index), content)


def _position_file(checkpoint: Path, process_index: int) -> Path:
    return checkpoint / f"stream_position_{process_index}.json"


def _read_position(checkpoint: Path, process_index: int) -> StreamPosition | None:
    """Read where a process's stream stood, if the checkpoint has it.

    Raises:
        ValueError: when the file is damaged.
    """
    path = _position_file(checkpoint, process_index)
    if not path.is_file():
        return None
    try:
        return StreamPosition.from_dict(read_json_object(path))
    except ValueError as error:
        raise ValueError(f"{path} is no position of a stream ({error}): resume from another checkpoint") from error
