# SPDX-License-Identifier: Apache-2.0
"""What all metrics share: storage, the check of their input, parse rate and confidence intervals."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.evaluation.bootstrap import Figures, bootstrap_intervals, wilson_interval
from geodit.evaluation.optional import import_optional

__all__ = ["AnswerMetric", "Part", "Scored", "Shares", "parsed_flags", "summarize"]

Shares = Mapping[str, NDArray[np.bool_]]

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


@dataclass(frozen=True)
class Part:
    """A part of the samples, with figures of its own.

    Args:
        members: Indices of its samples.
        figures: Function of indices of samples, of all samples, to named figures.
        shares: Figures that are shares, see [`Scored`]; masks are over all samples.
        constants: What else is told of the part.
    """

    members: NDArray[np.intp]
    figures: Figures
    shares: Shares
    constants: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """Answers that a metric has judged one by one, so that figures of any choice of them can be computed quickly.

    Args:
        figures: Function of sample indices, shape (M,), repetitions included, to named figures.
        parsed: Whether each answer parsed, shape (samples,).
        shares: For each figure that is a share, from 0 to 1, of things in the samples, which samples have such things,
            shape (samples,). Where it is 0 or 1 a bootstrap has nothing to vary.
        outcomes: For each figure that is a share of the samples themselves, whether each sample counts, shape
            (samples,).
        parts: Parts of the samples by their name, by what they are parts by, such as `{"by_kind": {"count": ...}}`.
        constants: What else is told of the samples: counts, thresholds, names.
    """

    figures: Figures
    parsed: NDArray[np.bool_]
    shares: Shares = field(default_factory=dict)
    outcomes: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, Part]] = field(default_factory=dict)
    constants: JsonObject = field(default_factory=dict)


def summarize(
    scored: Scored,
    *,
    groups: Sequence[Hashable] | None = None,
    bootstrap: int = 0,
    bootstrap_seed: int = 0,
) -> JsonObject:
    """Compute figures of all samples, with their parse rate, number, and confidence intervals if asked for.

    Args:
        scored: The judged answers.
        groups: The image of every sample; by default every sample has its own.
        bootstrap: Number of bootstrap resamples for 95% intervals; 0 for none. A share of exactly 0 or 1 has Wilson's
            interval, of as many trials as there are images with something that the share is of.
        bootstrap_seed: Seed of the resampling.

    Returns:
        The figures, `parse_rate`, `num_samples`, `confidence_intervals` when `bootstrap` > 0, the same for each part,
        and the constants.

    Raises:
        ValueError: If there is not one group per sample.
    """
    count = len(scored.parsed)
    if groups is not None and len(groups) != count:
        raise ValueError(f"there are {count} samples but {len(groups)} groups; give one group per sample")
    images: Sequence[Hashable] = range(count) if groups is None else groups

    def summary(part: Part) -> JsonObject:
        def figures(drawn: NDArray[np.intp]) -> dict[str, float | None]:
            indices = part.members[drawn]
            return {**part.figures(indices), "parse_rate": float(scored.parsed[indices].mean())}

        of_part = [images[index] for index in part.members]
        result: JsonObject = figures(np.arange(len(of_part), dtype=np.intp))
        result["num_samples"] = len(of_part)
        if bootstrap:
            intervals = bootstrap_intervals(figures, of_part, resamples=bootstrap, seed=bootstrap_seed)
            everything = np.ones(count, dtype=np.bool_)
            for name, having in {**part.shares, "parse_rate": everything}.items():
                if result[name] in (0.0, 1.0):
                    trials = len({images[index] for index in part.members if having[index]})
                    if trials:
                        intervals[name] = wilson_interval(trials if result[name] else 0, trials)
            result["confidence_intervals"] = intervals
        return {**result, **part.constants}

    whole = Part(np.arange(count, dtype=np.intp), scored.figures, scored.shares)
    parts = {by: {name: summary(part) for name, part in named.items()} for by, named in scored.parts.items()}
    return {**summary(whole), **scored.constants, **parts}
