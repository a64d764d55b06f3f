# SPDX-License-Identifier: Apache-2.0
"""From the folders that training wrote to one folder that can be published."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import torch

from geodit.configuration.new_folders import new_folder
from geodit.hub_cards.card.emissions import RUN_EMISSIONS
from geodit.hub_cards.card.evaluation_results import RESULTS_FOLDER
from geodit.hub_cards.card.model_card import write_model_card
from geodit.hub_cards.card.training_history import TRAINING_FOLDER
from geodit.hub_cards.publish.remote_code import remove_remote_code
from geodit.hub_cards.publish.run_folders import RUN_LOG, RUN_RECIPE
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["prepare_release"]

# What a run leaves behind, by the name that it has in a release.
_RUN_FILES = {".yaml": RUN_RECIPE, ".jsonl": RUN_LOG}


def prepare_release(
    run_dir: str | PathLike[str],
    output_dir: str | PathLike[str],
    *,
    stages: Mapping[str, str | PathLike[str]] | None = None,
    results: Sequence[str | PathLike[str]] = (),
    compared: Mapping[str, Sequence[str | PathLike[str]]] | None = None,
    dtype: torch.dtype | None = None,
    remote_code: bool = True,
) -> Path:
    """Gather weights, processor, code, recipes, logs and results in a new folder, and write its model card.

    Optimizer state, `training_args.bin` (a pickle) and intermediate checkpoints stay behind. The folder appears when
    it is complete.

    Args:
        run_dir: The folder that the last stage wrote.
        output_dir: The folder to make. It must not exist.
        stages: The folders of all stages by name, in order; each with `recipe.yaml` and `training_log.jsonl`.
        results: Documents of `geodit evaluate --out` about this checkpoint.
        compared: The same about other models, by a name for each.
        dtype: The type to save the weights in; by default they stay as they are.
        remote_code: Whether the release brings the code that loads it where this package is not installed. The
            checkpoint that is bundled with the package does without.

    Returns:
        `output_dir`.

    Raises:
        ValueError: If a file that is named does not exist, or cannot be read.
        FileExistsError: If `output_dir` exists.
    """
    output = Path(output_dir)
    copies: list[tuple[Path, Path]] = []
    for name, folder in (stages or {}).items():
        copies += [(Path(folder) / file, Path(TRAINING_FOLDER) / (name + end)) for end, file in _RUN_FILES.items()]
        emissions = Path(folder) / RUN_EMISSIONS
        if emissions.is_file():
            copies.append((emissions, Path(TRAINING_FOLDER) / f"{name}.{RUN_EMISSIONS}"))
    copies += [(Path(file), Path(RESULTS_FOLDER) / Path(file).name) for file in results]
    for name, files in (compared or {}).items():
        copies += [(Path(file), Path(RESULTS_FOLDER) / name / Path(file).name) for file in files]
    missing = [str(source) for source, _ in copies if not source.is_file()]
    if missing:
        raise ValueError(f"there is no file {', '.join(missing)}")

    with new_folder(output) as folder:
        model = GeoDiTForMaskedDiffusion.from_pretrained(run_dir, dtype=dtype or "auto")
        model.save_pretrained(folder)
        GeoDiTProcessor.from_pretrained(run_dir).save_pretrained(folder)
        if not remote_code:
            remove_remote_code(folder)
        for source, target in copies:
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / target)
        write_model_card(folder, model_name=output.name)
    return output
