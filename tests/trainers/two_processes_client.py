# SPDX-License-Identifier: Apache-2.0
"""What `test_two_processes.py` runs alone, and in two processes.

Arguments: the checkpoint to start from, and the output folder, to which each process writes `<rank>.json`.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from conftest import build_trainer, make_items
from transformers import TrainerCallback

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.trainers.data_collator import GeoDiTDataCollator

LOSSES = {
    "paper": {},
    "masked mean by sequence": {"loss_weighting": "masked_mean", "stratified_timesteps": True},
    "masked mean by token": {"loss_weighting": "masked_mean", "loss_normalization": "token"},
    "complementary": {"complementary_masks": True, "supervise_padding": False, "loss_normalization": "token"},
}
GLOBAL_BATCH = 8


def trainer_for(checkpoint: str, folder: Path, num_processes: int, **arguments: Any) -> Any:
    """Two updates by plain SGD of the same global batch, and an evaluation whose last batch is not full."""
    items = [{**item, "image_id": f"field_{index}", "question_index": 0} for index, item in enumerate(make_items(16))]
    settings = {
        "per_device_train_batch_size": GLOBAL_BATCH // num_processes,
        "per_device_eval_batch_size": 4 // num_processes,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "optim": "sgd",
        "eval_nll_draws": 2,
        **arguments,
    }
    return build_trainer(
        GeoDiTForMaskedDiffusion.from_pretrained(checkpoint),
        GeoDiTProcessor.from_pretrained(checkpoint),
        items,
        folder,
        eval_items=items[:7],
        **settings,
    )


def report(trainer: Any, **more: Any) -> dict[str, Any]:
    """The log without what a clock has measured, and a fingerprint of the weights."""
    timing = ("_runtime", "_per_second")
    log = [{k: v for k, v in entry.items() if not k.endswith(timing)} for entry in trainer.state.log_history]
    weights = [value.double().square().sum().item() for value in trainer.model.state_dict().values()]
    return {"log": log, "weights": weights, "step": trainer.state.global_step, **more}


class EndOneProcess(TrainerCallback):
    """Sends SIGTERM to the last process alone, in the middle of the second update."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1 and args.process_index == args.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)


class Poison(GeoDiTDataCollator):
    """Makes the pixels of one image nan."""

    def __call__(self, items: Any) -> Any:
        batch = super().__call__(items)
        for row, item in enumerate(items):
            if item["image_id"] == "field_15":
                batch["pixel_values"][row] = float("nan")
        return batch


def main() -> None:
    torch.set_num_threads(1)
    checkpoint, folder = sys.argv[1], Path(sys.argv[2])
    num_processes, rank = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK", "0")
    found = {}
    for name, options in LOSSES.items():
        trainer = trainer_for(checkpoint, folder / "losses", num_processes, **options)
        trainer.train()
        trainer.evaluate()
        found[name] = report(trainer)
    if num_processes > 1:
        found |= resumed(checkpoint, folder / "resumed", num_processes)
        found |= failures(checkpoint, folder, num_processes)
    (folder / f"{rank}.json").write_text(json.dumps(found))


def resumed(checkpoint: str, folder: Path, num_processes: int) -> dict[str, Any]:
    """A run in random order, whole, and from a checkpoint in the middle of its second epoch."""
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 3, "train_sampling_strategy": "random"}
    found = {}
    for name, resume in (("whole", None), ("resumed", folder / "checkpoint-3")):
        trainer = trainer_for(checkpoint, folder, num_processes, **options)
        trainer.train(resume_from_checkpoint=resume)
        found[name] = report(trainer)
    return found


def failures(checkpoint: str, folder: Path, num_processes: int) -> dict[str, Any]:
    """How a run ends that one process is told to end, and one in which one process has a bad item."""
    found = {}
    trainer = trainer_for(checkpoint, folder / "ended", num_processes, max_steps=6)
    trainer.add_callback(EndOneProcess())
    try:
        trainer.train()
    except SystemExit as end:
        found["ended"] = report(trainer, exit_code=end.code)

    trainer = trainer_for(checkpoint, folder / "poisoned", num_processes, max_steps=6)
    trainer.data_collator = Poison(trainer.processing_class)
    try:
        trainer.train()
    except FloatingPointError as error:
        found["poisoned"] = report(trainer, error=str(error))
    return found


if __name__ == "__main__":
    main()
