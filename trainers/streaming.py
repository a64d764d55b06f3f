# SPDX-License-Identifier: Apache-2.0
"""Training on a stream: each process reads its own share, and a resumed run goes on where the stream stood."""

import json
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput, get_last_checkpoint

from geodit.configuration.files_geodit import write_atomically
from geodit.data.streaming import QuestionStream, StreamPosition


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
            self.add_callback(_SaveStreamPosition(self.train_dataset))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Trainer's own, but for a stream, of which each process has its share already."""
        if not isinstance(self.train_dataset, QuestionStream):
            loader: DataLoader[Any] = super().get_train_dataloader()
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
        accelerator_config: Any = args.accelerator_config
        own_loader: DataLoader[Any] = prepare_data_loader(
            loader,
            self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            dispatch_batches=False,
            non_blocking=accelerator_config.non_blocking,
        )
        return own_loader

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """See [`~transformers.Trainer.train`]; a stream starts where the checkpoint left it."""
        if isinstance(self.train_dataset, QuestionStream) and resume_from_checkpoint:
            folder = resume_from_checkpoint
            if folder is True:
                folder = get_last_checkpoint(str(self.args.output_dir))
            if folder is not None and (position := _read_position(Path(folder), self.args.process_index)):
                self.train_dataset.start_at(position)
                # There is nothing to skip: the stream begins behind it.
                self.args.ignore_data_skip = True
        return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)


class _SaveStreamPosition(TrainerCallback):
    """Writes where this process's stream stands to each checkpoint."""

    def __init__(self, stream: QuestionStream) -> None:
        self._stream = stream
        self._first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._first_step = state.global_step

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if args.dataloader_num_workers or not state.global_step:
            return
        # The loader reads ahead: what counts is what was trained on.
        num_batches = (state.global_step - self._first_step) * args.gradient_accumulation_steps
        position = self._stream.position_at(self._stream.start.num_items + num_batches * args.train_batch_size)
        folder = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(position.to_dict()).encode()
        write_atomically(_position_file(folder, args.process_index), content)


def _position_file(checkpoint: Path, process_index: int) -> Path:
    return checkpoint / f"stream_position_{process_index}.json"


def _read_position(checkpoint: Path, process_index: int) -> StreamPosition | None:
    """Where a process's stream stood, if the checkpoint has it.

    Raises:
        ValueError: when the file is damaged.
    """
    path = _position_file(checkpoint, process_index)
    if not path.is_file():
        return None
    try:
        return StreamPosition.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(
            f"{path} is no position of a stream ({error}): delete it to read up to there instead"
        ) from error
