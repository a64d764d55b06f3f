# SPDX-License-Identifier: Apache-2.0
"""What the checks of a checkpoint cost when it is loaded, compared with Transformers alone, in one process.

    python benchmarks/loading_checks.py                                # geodit-tiny
    python benchmarks/loading_checks.py --layers 32 --work-dir /scratch  # the shapes of LLaDA-8B, 16 GB on disk

Loads the same checkpoint in turn by `PreTrainedModel.from_pretrained` and by GeoDiT's, which looks at the index and
the headers before, and at every number after it. Prints the median of each, their ratio, and the parts of the checks.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.loaded_weights_geodit import check_headers, check_values
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.modeling_geodit.weight_files_geodit import check_weight_files
from geodit.weights.bundled import bundled_checkpoint


class Unchecked(GeoDiTForMaskedDiffusion):
    """The same model, loaded by Transformers alone."""

    _load_pretrained_model = staticmethod(PreTrainedModel._load_pretrained_model)


def main() -> None:
    """Make the checkpoint if one is asked for, and time both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, help="text layers of a checkpoint with the shapes of LLaDA-8B")
    parser.add_argument("--work-dir", type=Path, default=Path(tempfile.gettempdir()), help="where to make it")
    parser.add_argument("--runs", type=int, default=9, help="times that each way is taken")
    args = parser.parse_args()
    logging.disable_progress_bar()
    if args.layers is None:
        measure(bundled_checkpoint(), args.runs)
        return
    folder = Path(tempfile.mkdtemp(dir=args.work_dir))
    try:
        make_checkpoint(folder, args.layers)
        measure(str(folder), args.runs)
    finally:
        shutil.rmtree(folder)


def make_checkpoint(folder: Path, layers: int) -> None:
    """Save random bfloat16 weights of LLaDA-8B's shapes, with the tower of SigLIP so400m."""
    config = GeoDiTConfig(text_config={"num_hidden_layers": layers})
    with torch.device("meta"):
        model = GeoDiTForMaskedDiffusion(config).to(torch.bfloat16)
    model = model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.uniform_(-0.02, 0.02)
    model.save_pretrained(folder)


def measure(folder: str, runs: int) -> None:
    """Load in turn, so that the state of the machine is the same for both."""
    seconds: dict[str, list[float]] = {"Transformers alone": [], "GeoDiT": []}
    ways: dict[str, Callable[[], Any]] = {
        "Transformers alone": lambda: PreTrainedModel.from_pretrained.__func__(
            Unchecked, folder, use_safetensors=True
        ),
        "GeoDiT": lambda: GeoDiTForMaskedDiffusion.from_pretrained(folder),
    }
    parts: dict[str, list[float]] = {"files and index": [], "headers": [], "every number": []}
    for run in range(runs + 1):
        for name, load in ways.items():
            start = time.perf_counter()
            model = load()
            elapsed = time.perf_counter() - start
            if run:  # the first reads the file from the disk
                seconds[name].append(elapsed)
            if name == "GeoDiT" and run:
                files = [str(path) for path in sorted(Path(folder).glob("*.safetensors"))]
                checks: dict[str, Callable[[], Any]] = {
                    "files and index": lambda: check_weight_files(folder),
                    "headers": lambda model=model, files=files: check_headers(model, files, folder),
                    "every number": lambda model=model: check_values(model, folder),
                }
                for part, check in checks.items():
                    start = time.perf_counter()
                    check()
                    parts[part].append(time.perf_counter() - start)
            num_parameters = model.num_parameters()
            del model
    print(f"{num_parameters:,} parameters, {torch.get_num_threads()} threads, {runs} runs each, medians")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        low, high = min(seconds[name]), max(seconds[name])
        print(f"  {name:20s} {value:8.3f} s  (from {low:.3f} to {high:.3f})")
    print(f"  {'ratio':20s} {medians['GeoDiT'] / medians['Transformers alone']:8.3f}")
    for part, values in parts.items():
        print(f"  {part:20s} {statistics.median(values):8.4f} s")


if __name__ == "__main__":
    main()
