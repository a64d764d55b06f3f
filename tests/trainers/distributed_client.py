# SPDX-License-Identifier: Apache-2.0
"""What `test_distributed.py` runs in two processes, by torchrun.

Arguments: the checkpoint to start from and the folder for what came of it. The first process writes `<case>.json` and
`<case>.safetensors`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from conftest import make_items
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from transformers import DistributedConfig

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments


def train(checkpoint: Path, folder: Path, *, distributed_config: Any = None, **arguments: Any) -> GeoDiTTrainer:
    """Train for some steps on the items of `conftest`, in whatever number of processes this is."""
    model = GeoDiTForMaskedDiffusion.from_pretrained(checkpoint, distributed_config=distributed_config)
    processor = GeoDiTProcessor.from_pretrained(checkpoint)
    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "max_steps": 3,
        "save_strategy": "no",
        "learning_rate": 1e-2,
        **arguments,
    }
    trainer = GeoDiTTrainer(
        model=model,
        args=GeoDiTTrainingArguments(**settings),
        data_collator=GeoDiTDataCollator(processor),
        processing_class=processor,
        train_dataset=make_items(24),
    )
    trainer.train()
    return trainer


def losses(trainer: GeoDiTTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def report(trainer: GeoDiTTrainer, path: Path, **more: Any) -> None:
    weights = {name: whole(parameter) for name, parameter in trainer.model.named_parameters()}
    if trainer.is_world_process_zero():
        save_file(weights, path.with_suffix(".safetensors"))
        path.with_suffix(".json").write_text(json.dumps({"losses": losses(trainer), **more}))


def main() -> None:
    torch.set_num_threads(1)
    checkpoint, folder = Path(sys.argv[1]), Path(sys.argv[2])
    trainer = train(checkpoint, folder, per_device_train_batch_size=4)
    report(trainer, folder / "ddp", distributed_type=trainer.accelerator.distributed_type.value)
    trainer = train(
        checkpoint, folder, distributed_config=DistributedConfig(fsdp_size=2), per_device_train_batch_size=4
    )
    shares = {
        name: [isinstance(p, DTensor), p.numel(), p.to_local().numel() if isinstance(p, DTensor) else p.numel()]
        for name, p in trainer.model.named_parameters()
    }
    report(trainer, folder / "fsdp", shares=shares)


if __name__ == "__main__":
    main()
