# SPDX-License-Identifier: Apache-2.0
"""What all metrics share: storage, the check of their input, parse rate and confidence intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.evaluation.bootstrap import Figures, bootstrap_intervals
from geodit.evaluation.optional import import_optional

__all__ = ["AnswerMetric", "parsed_flags", "summarize"]

evaluate = import_optional("evaluate")


class AnswerMetric(evaluate.Metric):  # type: ignore[misc, name-defined]
    """A metric of answers, each of which parsed or did not.

    Predictions and references are kept in memory, so that instances never meet in a cache folder. Only a
    distributed run (`num_process > 1`) writes files, which is how `evaluate` gathers the processes.

    Args:
        num_process: How many processes add predictions.
        process_id: Which of them this is, from 0.
        experiment_id: Names a distributed run; runs that share a file system need different names.
        cache_dir: Folder for the files of a distributed run.
        keep_in_memory: Override the choice above.
        timeout: Seconds that a distributed run waits for its processes.
    """

    def __init__(
        self,
        *,
        num_process: int = 1,
        process_id: int = 0,
        experiment_id: str | None = None,
        cache_dir: str | None = None,
        keep_in_memory: bool | None = None,
        timeout: float = 100,
    ) -> None:
        super().__init__(
            num_process=num_process,
            process_id=process_id,
            experiment_id=experiment_id,
            cache_dir=cache_dir,
            keep_in_memory=num_process == 1 if keep_in_memory is None else keep_in_memory,
            timeout=timeout,
        )

    def _build_data_dir(self) -> str:
        # The parent makes the folder at once, which fails where the home folder is read-only or absent.
        data_dir: str = self._data_dir_root if self.keep_in_memory else super()._build_data_dir()
        return data_dir

    def _finalize(self) -> None:
        if self.keep_in_memory and self.writer is None:
            raise ValueError("there is nothing to compute: add predictions and references first")
        super()._finalize()


def parsed_flags(predictions: Sequence[Item]) -> NDArray[np.bool_]:
    """Return whether each answer parsed.

    Args:
        predictions: Dictionaries with a field `parsed`.

    Returns:
        Array of shape (number of predictions,).

    Raises:
        ValueError: If there are no predictions or one does not say whether it parsed.
    """
    if not predictions:
        raise ValueError("there is nothing to compute: the list of predictions is empty")
    flags = [prediction["parsed"] for prediction in predictions]
    if None in flags:
        raise ValueError(f"prediction {flags.index(None)} has no field 'parsed' (True or False)")
    return np.asarray(flags, dtype=np.bool_)


def summarize(
    figures: Figures,
    parsed: NDArray[np.bool_],
    *,
    groups: Sequence[Hashable] | None = None,
    bootstrap: int = 0,
    bootstrap_seed: int = 0,
) -> JsonObject:
    """Compute figures of all samples, with their parse rate, number, and confidence intervals if asked for.

    Args:
        figures: Function of sample indices to named figures, see
            [`~geodit.evaluation.bootstrap.bootstrap_intervals`].
        parsed: Whether each answer parsed.
        groups: The image of every sample; by default every sample has its own.
        bootstrap: Number of bootstrap resamples for 95% intervals; 0 for none.
        bootstrap_seed: Seed of the resampling.

    Returns:
        The figures, `parse_rate`, `num_samples`, and `confidence_intervals` when `bootstrap` > 0.

    Raises:
        ValueError: If there is not one group per sample.
    """
    count = len(parsed)
    if groups is not None and len(groups) != count:
        raise ValueError(f"there are {count} samples but {len(groups)} groups; give one group per sample")

    def all_figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        return {**figures(indices), "parse_rate": float(parsed[indices].mean())}

    result: JsonObject = all_figures(np.arange(count, dtype=np.intp))
    result["num_samples"] = count
    if bootstrap:
        result["confidence_intervals"] = bootstrap_intervals(
            all_figures,
            list(range(count)) if groups is None else groups,
            resamples=bootstrap,
            seed=bootstrap_seed,
        )
    return result
