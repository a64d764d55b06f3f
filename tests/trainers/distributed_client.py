# SPDX-License-Identifier: Apache-2.0
"""What `test_distributed.py` runs, alone and in two processes.

Arguments: the checkpoint to start from and the folder for what came of it. Process 0 writes `<case>.json` and
`<case>.safetensors` for each case; the stream's items are written by each process.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from conftest import make_items
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from transformers import DistributedConfig

from geodit.data.schema import make_dataset, make_row
from geodit.data.streaming import QuestionStream
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.grpo.arguments import GeoDiTGRPOConfig
from geodit.trainers.grpo.trainer import GeoDiTGRPOTrainer
from geodit.trainers.sample_callback import SampleCallback, choose_samples
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

GLOBAL_BATCH = 8
ITEMS = make_items(24)


class RecordingCollator(GeoDiTDataCollator):
    """Remembers the images that it was given, by name."""

    def __init__(self, processor: GeoDiTProcessor) -> None:
        super().__init__(processor)
        self.image_ids: list[str] = []

    def __call__(self, items: Any) -> dict[str, torch.Tensor]:
        self.image_ids += [item["image_id"] for item in items if "image_id" in item]
        return super().__call__(items)


def train(checkpoint: Path, folder: Path, dataset: Any = ITEMS, sharded: bool = False) -> GeoDiTTrainer:
    """Make three updates of the same global batch in whatever number of processes this is."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    model = GeoDiTForMaskedDiffusion.from_pretrained(
        checkpoint, distributed_config=DistributedConfig(fsdp_size=world_size) if sharded else None
    )
    processor = GeoDiTProcessor.from_pretrained(checkpoint)
    arguments = GeoDiTTrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        per_device_train_batch_size=GLOBAL_BATCH // world_size,
        max_steps=3,
        save_strategy="no",
        learning_rate=0.05,
        lr_scheduler_type="constant",
        warmup_steps=0,
        optim="sgd",  # Adam would blow differences of rounding up to the learning rate
        stratified_timesteps=True,
    )
    trainer = GeoDiTTrainer(
        model=model,
        args=arguments,
        data_collator=RecordingCollator(processor),
        processing_class=processor,
        train_dataset=dataset,
    )
    trainer.train()
    return trainer


def tune(checkpoint: Path, folder: Path) -> dict[str, torch.Tensor]:
    """Two updates of GRPO on answers that each process samples for itself; long answers are better."""
    arguments = GeoDiTGRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        per_device_train_batch_size=8,
        num_generations=4,
        max_steps=2,
        save_strategy="no",
        learning_rate=1e-2,
    )
    trainer = GeoDiTGRPOTrainer(
        GeoDiTForMaskedDiffusion.from_pretrained(checkpoint),
        arguments,
        GeoDiTProcessor.from_pretrained(checkpoint),
        reward_functions={"length": lambda answer: float(len(answer.text))},
        train_dataset=[{**item, "image_id": str(index)} for index, item in enumerate(ITEMS)],
    )
    trainer.train()
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}


def report(trainer: GeoDiTTrainer, path: Path, **more: Any) -> None:
    """Write losses and whole parameters."""
    parameters = dict(trainer.model.named_parameters())
    whole = {name: p.full_tensor() if isinstance(p, DTensor) else p for name, p in parameters.items()}
    if not trainer.is_world_process_zero():
        return
    save_file({name: tensor.detach().clone() for name, tensor in whole.items()}, path.with_suffix(".safetensors"))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    path.with_suffix(".json").write_text(json.dumps({"losses": losses, **more}))


def main() -> None:
    torch.set_num_threads(1)
    checkpoint, folder = Path(sys.argv[1]), Path(sys.argv[2])
    trainer = train(checkpoint, folder)
    distributed_type = trainer.accelerator.distributed_type.value
    report(trainer, folder / "plain", distributed_type=distributed_type, imported=sorted(sys.modules))
    if "WORLD_SIZE" not in os.environ:
        return
    trainer = train(checkpoint, folder, sharded=True)
    shares = {
        name: [p.numel(), p.to_local().numel() if isinstance(p, DTensor) else None]
        for name, p in trainer.model.named_parameters()
    }
    report(trainer, folder / "sharded", shares=shares, plan=trainer.model.fsdp_plan)
    processor = trainer.data_collator.processor
    args = dataclasses.replace(trainer.args, sample_every_steps=1)
    callbacks = [SampleCallback(processor, choose_samples(ITEMS, 1))]
    try:
        GeoDiTTrainer(model=trainer.model, args=args, processing_class=processor, callbacks=callbacks)
    except ValueError as error:
        (folder / "samples.txt").write_text(str(error))

    rows = [make_row(item["image"], f"image{index}", [item["question"]]) for index, item in enumerate(ITEMS)]
    stream = QuestionStream(make_dataset(rows).to_iterable_dataset(num_shards=4), block_size=6)
    trainer = train(checkpoint, folder, stream)
    rank = trainer.args.process_index
    (folder / f"stream{rank}.json").write_text(json.dumps(trainer.data_collator.image_ids))

    weights = tune(checkpoint, folder)
    save_file(weights, folder / f"grpo{rank}.safetensors")

    # Last, as accelerate remembers that it was asked.
    args = GeoDiTTrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none", fsdp=True)
    try:
        GeoDiTTrainer(model=GeoDiTForMaskedDiffusion.from_pretrained(checkpoint), args=args)
    except ValueError as error:
        (folder / "fsdp.txt").write_text(str(error))


if __name__ == "__main__":
    main()
