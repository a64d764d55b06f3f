# SPDX-License-Identifier: Apache-2.0
"""`.eval_results/*.yaml`: figures as the Hub takes them to the leaderboard of a benchmark.

The Hub's description of these files is https://huggingface.co/docs/hub/eval-results. Each entry belongs to a data set
of the Hub that is registered as a benchmark, so there are files for those benchmarks alone whose data set
`results/benchmarks.yaml` names. The others are in the model index of the card.
"""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from geodit.configuration.decoding_options import DecodingOptions
from geodit.hub_cards.card.evaluation_results import Figure, Results, ResultsCell
from geodit.hub_cards.card.metadata import main_results

__all__ = ["EVAL_RESULTS_FOLDER", "eval_results_files"]

EVAL_RESULTS_FOLDER = ".eval_results"

# A task of a benchmark has one figure: the first of these that was measured.
_MAIN_FIGURES = {
    "caption": ("cider",),
    "ground": ("accuracy",),
    "detect": ("map50", "f1"),
    "vqa": ("accuracy",),
    "classify": ("accuracy",),
}


def eval_results_files(results: Sequence[Results], decoding: DecodingOptions, repo_id: str) -> dict[str, bytes]:
    """Return the files, by their paths in the repository.

    They hold what a user of the checkpoint's defaults gets on the images of the benchmark.

    Args:
        results: The documents.
        decoding: How the checkpoint decodes by default.
        repo_id: The repository, which has the documents that figures are read from.
    """
    entries: dict[str, list[EvalResultEntry]] = {}
    for document, cell, task in main_results(results, decoding):
        name = next((name for name in _MAIN_FIGURES.get(task, ()) if f"{task}.{name}" in cell.figures), None)
        if document.hub_dataset is None or name is None:
            continue
        value = _on_own_images(document, cell.figures[f"{task}.{name}"])
        if value is not None:
            entries.setdefault(document.benchmark, []).append(
                EvalResultEntry(
                    dataset_id=document.hub_dataset,
                    task_id=task,
                    value=round(value, 4),
                    source_url=f"https://huggingface.co/{repo_id}/blob/main/{document.path.as_posix()}",
                    source_name="geodit evaluate",
                    notes=_notes(document, cell, f"{task}.{name}"),
                )
            )
    return {
        f"{EVAL_RESULTS_FOLDER}/{benchmark}.yaml": yaml.safe_dump(
            eval_result_entries_to_yaml(of_benchmark), sort_keys=False, allow_unicode=True
        ).encode()
        for benchmark, of_benchmark in entries.items()
    }


def _on_own_images(document: Results, figure: Figure) -> float | None:
    """Return the figure on the images that the benchmark has; others, drawn for the occasion, do not count."""
    if document.dataset_seeds is None:
        return figure.mean
    return None if document.own_repetition is None else figure.values[document.own_repetition]


def _notes(document: Results, cell: ResultsCell, name: str) -> str:
    parts = [cell.title(name), cell.setting]
    if document.own_repetition is not None:
        parts.append(f"{cell.num_images[document.own_repetition]} images")
    figure = cell.figures[name]
    if document.dataset_seeds is None:
        if figure.std is not None:
            parts.append(f"mean of {len(document.seeds)} seeds, standard deviation {figure.std:.4f}")
        if figure.interval is not None:
            low, high = figure.interval
            parts.append(f"95% confidence interval {low:.4f} to {high:.4f}")
    return "; ".join(parts)
