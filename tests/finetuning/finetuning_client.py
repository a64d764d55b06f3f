# SPDX-License-Identifier: Apache-2.0
"""What `test_processes.py` runs: a fine-tuning. Arguments: data set, folder of the run, checkpoint."""

import sys
from pathlib import Path

from accelerate import PartialState

from geodit.finetuning.options import FinetuneOptions
from geodit.finetuning.run import finetune

ships, folder, checkpoint = sys.argv[1:]
options = FinetuneOptions(model=checkpoint, max_steps=2, evaluations=1, batch_size=4, use_cpu=True)
report = finetune([ships], folder, options)
rank = PartialState().process_index
(Path(folder) / f"rank-{rank}.txt").write_text("nothing" if report is None else f"{len(report.after.answers)} answers")
