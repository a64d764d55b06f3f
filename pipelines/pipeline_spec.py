# SPDX-License-Identifier: Apache-2.0
"""What a pipeline is loaded from, for processes that each load their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from geodit.processing.box_scores import DEFAULT_BOX_SCORE

if TYPE_CHECKING:
    from geodit.pipelines.answering import ImageAnswerer
    from geodit.pipelines.image_pipeline import GeoDiTPipeline

__all__ = ["AnswererSpec", "PipelineSpec"]


class AnswererSpec(Protocol):
    """What a worker makes its answerer of: plain values that can be sent to another machine."""

    @property
    def num_gpus(self) -> int:
        """GPUs that one answerer takes, where there are any."""

    def load_answerer(self) -> ImageAnswerer:
        """Load the answerer.

        Raises:
            OSError, ValueError: If it cannot be loaded.
        """


@dataclass(frozen=True)
class PipelineSpec:
    """What [`GeoDiTPipeline.from_pretrained`] takes, as plain values that can be sent to another machine.

    Args:
        model: Directory or Hub id of a checkpoint, `"geodit-tiny"`, or `None` for the one that the adapter was trained
            on.
        adapter: Directory or Hub id of an adapter.
        revision: Branch, tag or commit of the model.
        adapter_revision: Branch, tag or commit of the adapter.
        dtype: Type of the weights, `"auto"` for that of the checkpoint.
        box_score: How a box is scored from the probabilities of its tokens.
    """

    model: str | None = None
    adapter: str | None = None
    revision: str | None = None
    adapter_revision: str | None = None
    dtype: str = "auto"
    box_score: str = DEFAULT_BOX_SCORE

    @property
    def num_gpus(self) -> int:
        """One, where there are any."""
        return 1

    def load_answerer(self) -> ImageAnswerer:
        """Load the pipeline and return who answers in it; see [`load`]."""
        return self.load().answerer

    def load(self, device: str | None = None) -> GeoDiTPipeline:
        """Load the pipeline.

        Args:
            device: Where it runs; by default a GPU if there is one.

        Raises:
            OSError, ValueError: As [`GeoDiTPipeline.from_pretrained`].
        """
        from geodit.pipelines.image_pipeline import GeoDiTPipeline

        return GeoDiTPipeline.from_pretrained(
            self.model,
            adapter=self.adapter,
            device=device,
            dtype=self.dtype,
            revision=self.revision,
            adapter_revision=self.adapter_revision,
            box_score=self.box_score,
        )

    def pinned(self, commit: str | None) -> PipelineSpec:
        """Return the same with the commit of the model, so that all who load it later load the same.

        Args:
            commit: The commit; `None` for a directory, which has none.
        """
        return self if commit is None else replace(self, revision=commit)
