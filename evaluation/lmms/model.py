# SPDX-License-Identifier: Apache-2.0
"""GeoDiT as a model of lmms-eval: `lmms_eval --model geodit --model_args pretrained=...`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lmms_eval.api.model import lmms

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.lmms.prompts import AskedTask, asked_task
from geodit.evaluation.other_models.notations import get_notation
from geodit.evaluation.settings import evaluation_options
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.answer_patterns import build_answer_pattern
from geodit.processing.asking import ImageQuestion, ask
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.tasks_geodit import names_several_classes
from geodit.weights.bundled import BUNDLED, resolve_checkpoint

if TYPE_CHECKING:
    from lmms_eval.api.instance import Instance

__all__ = ["GeoDiT"]

BOXES = get_notation("json_1000")
"""How boxes are given to lmms-eval, whose tasks know no location tokens."""


class GeoDiT(lmms):
    """A checkpoint of GeoDiT.

    A prompt is understood as a question of one of GeoDiT's tasks, see [`asked_task`], which says how long the answer
    may be. Answers with boxes are given as JSON with 0 to 1000; one that could not be read as a whole is a list that
    breaks off after the boxes that could.

    Args:
        pretrained: Directory or Hub id; by default the bundled checkpoint.
        revision: Branch, tag or commit.
        device: Name of a torch device; by default a GPU if there is one.
        dtype: Type of the weights; `auto` for that of the checkpoint.
        batch_size: How many questions are answered at once.
        max_batch_size: Not used; lmms-eval passes it.
        max_denoising_steps: Maximum number of denoising steps; by default 8.
        remasking: As in [`DecodingOptions`].
        confidence_threshold: Likewise.
        seed: Of the random numbers, for `remasking=random`.
        structured: Whether answers of boxes are always well-formed boxes.

    Raises:
        ValueError: If an option is not allowed.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str = BUNDLED,
        revision: str = "main",
        device: str | None = None,
        dtype: str = "auto",
        batch_size: int | str = 32,
        max_batch_size: int | None = None,
        max_denoising_steps: int | None = None,
        remasking: str | None = None,
        confidence_threshold: float | None = None,
        seed: int = 0,
        structured: bool = True,
    ) -> None:
        super().__init__()
        self.options = evaluation_options(
            DecodingOptions(
                max_denoising_steps=max_denoising_steps,
                remasking=remasking,
                confidence_threshold=confidence_threshold,
                seed=seed,
                structured=structured,
            )
        )
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise ValueError(f"batch_size must be a number from 1 on, not {batch_size!r}")
        self.batch_size = int(batch_size)
        checkpoint = resolve_checkpoint(pretrained)
        chosen = device or self._share_work() or ("cuda" if torch.cuda.is_available() else "cpu")
        network: Any = GeoDiTForMaskedDiffusion.from_pretrained(checkpoint, revision=revision, dtype=dtype)
        self._model = network.to(chosen).eval()
        self._processor = GeoDiTProcessor.from_pretrained(checkpoint, revision=revision)

    def _share_work(self) -> str | None:
        """Take a share of the requests if `accelerate launch` started several processes; return its device."""
        from accelerate import Accelerator, PartialState

        if PartialState().num_processes == 1:
            return None
        # lmms-eval gathers the answers through it.
        self.accelerator = Accelerator()
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        return str(self.accelerator.device)

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Answer prompts about one image each.

        Raises:
            ValueError: If a request has no image or several.
        """
        by_form: dict[tuple[str, bool], list[int]] = {}
        asked: list[AskedTask] = []
        for index, request in enumerate(requests):
            one = asked_task(self._processor.tasks, request.args[0])
            asked.append(one)
            by_form.setdefault((one.task, names_several_classes(one.query)), []).append(index)

        answers: dict[int, str] = {}
        for (task, _), indices in by_form.items():
            pattern = build_answer_pattern(
                self._processor, task, asked[indices[0]].query, structured=self.options.structured
            )
            replies = ask(
                self._model,
                self._processor,
                task,
                self._questions(requests, asked, indices),
                options=self.options,
                pattern=pattern,
                batch_size=self.batch_size,
                by_model=False,
            )
            for reply in replies:
                index = reply.question.number
                text = self._text(task, reply.answer, reply.question.image_size)
                answers[index] = _cut(text, requests[index].args[1])
                self.cache_hook.add_partial("generate_until", requests[index].args[:2], answers[index])
        return [answers[index] for index in range(len(requests))]

    def _questions(
        self, requests: Sequence[Instance], asked: Sequence[AskedTask], indices: Sequence[int]
    ) -> Iterator[ImageQuestion]:
        for index in indices:
            _, _, doc_to_visual, doc_id, task, split = requests[index].args
            images = doc_to_visual(self.task_dict[task][split][doc_id])
            if len(images) != 1:
                raise ValueError(f"GeoDiT answers questions about one image; document {doc_id} has {len(images)}")
            yield ImageQuestion(images[0].convert("RGB"), asked[index].query, index)

    def _text(self, task: str, answer: JsonObject, image_size: tuple[int, int]) -> str:
        """Return an answer as lmms-eval's tasks can read it."""
        if self._processor.tasks[task].answer == "text":
            return str(answer["text"])
        written = BOXES.encode(answer["boxes"], image_size, labels=answer["labels"])
        # One that could not be read as a whole is a list that breaks off.
        return written if answer["parsed"] else written[:-1]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Refuse: masked diffusion has an upper bound of the likelihood, which lmms-eval does not ask for."""
        raise NotImplementedError("GeoDiT answers tasks of the type generate_until only")

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Refuse: GeoDiT answers one question at a time."""
        raise NotImplementedError("GeoDiT answers tasks of the type generate_until only")


def _cut(text: str, settings: JsonObject) -> str:
    """Cut an answer off where lmms-eval's task says that it ends."""
    until = settings.get("until") or []
    for end in [until] if isinstance(until, str) else until:
        if end:
            text = text.split(end)[0]
    return text
