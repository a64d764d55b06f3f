# SPDX-License-Identifier: Apache-2.0
"""What `test_guarded_trainer.py` runs to see it die: a training run that kills itself.

Arguments: the checkpoint to start from, the output folder, the arguments of the run as JSON, where to die (`update`,
between two micro-batches, or `save`, between two files of a checkpoint) and after how many updates.
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


class KillWithinUpdate(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_within_save(trainer: Any, step: int) -> None:
    """Die where the weights and the optimizer are written and the rest is not."""
    save_rng_state = trainer._save_rng_state

    def save_or_die(folder: str) -> None:
        if trainer.state.global_step == step:
            assert (Path(folder) / "optimizer.pt").is_file()
            os.kill(os.getpid(), signal.SIGKILL)
        save_rng_state(folder)

    trainer._save_rng_state = save_or_die


def main() -> None:
    torch.set_num_threads(1)
    checkpoint, folder, arguments, where, step = sys.argv[1:]
    trainer = build_trainer(
        GeoDiTForMaskedDiffusion.from_pretrained(checkpoint),
        GeoDiTProcessor.from_pretrained(checkpoint),
        make_items(),
        folder,
        eval_items=make_items(3),
        callbacks=[KillWithinUpdate(int(step))] if where == "update" else [],
        **json.loads(arguments),
    )
    if where == "save":
        kill_within_save(trainer, int(step))
    trainer.train()


if __name__ == "__main__":
    main()
