# SPDX-License-Identifier: Apache-2.0
"""Runs a job in this process: chunk by chunk, each on disk before the next one begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from geodit.pipelines.answering import ImageAnswerer
from geodit.pipelines.scenes.journal import Journal
from geodit.pipelines.scenes.plan import Chunk, JobImages, JobPlan, answer_chunk
from geodit.pipelines.tile_answers import TileAnswers

__all__ = ["run_chunks"]


def run_chunks(
    answerer: ImageAnswerer,
    plan: JobPlan,
    chunks: Iterable[Chunk] | None = None,
    *,
    journal: Journal | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[list[TileAnswers]]:
    """Answer chunks of a job.

    Args:
        answerer: Whom to ask.
        plan: The plan of the job. What becomes known of its images is noted there.
        chunks: Which; by default all.
        journal: Where answers go as they come. Chunks that are there already are not asked for again.
        progress: Called with the number of tiles that are done.

    Yields:
        The answers of each chunk.

    Raises:
        FileNotFoundError, ValueError: As [`answer_chunk`].
        OSError: If the journal cannot be written.
    """
    done = 0
    report: Callable[[int], None] | None
    with JobImages(plan.job) as images:
        for chunk in plan.chunks() if chunks is None else chunks:
            known = None if journal is None else journal.done.get(chunk.number)
            if known is None:
                report = None if progress is None else _after(progress, done)
                known, facts = answer_chunk(answerer, plan.job, chunk, report, images=images)
                plan.images.update(facts)
                if journal is not None:
                    journal.add(chunk.number, known)
            elif progress is not None:
                progress(done + len(known))
            done += len(known)
            yield known


def _after(progress: Callable[[int], None], done: int) -> Callable[[int], None]:
    return lambda more: progress(done + more)
