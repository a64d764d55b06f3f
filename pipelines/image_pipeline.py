# SPDX-License-Identifier: Apache-2.0
"""Questions about images: read, ask the model, and read its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from PIL import Image

from geodit.checkpoints import resolve_checkpoint
from geodit.data.windows import Window
from geodit.modeling_geodit.patterns_geodit import AnswerPattern
from geodit.pipelines.box_scores import DEFAULT_BOX_SCORE, get_box_score, read_box_tokens
from geodit.pipelines.fit import check_fit
from geodit.pipelines.image_source import ImageSource
from geodit.pipelines.imagery import ImageInput, as_image_source
from geodit.pipelines.prediction import Denoising, Prediction
from geodit.pipelines.tiling import Box, Detection, merge_detections, tile_windows, to_image
from geodit.processing.answer_patterns import AnswerPatterns

# A box may end this share of a tile's side before the tile's edge and still count as cut by it: the notations
# of boxes are coarse, and so is a small model.
_CUT_MARGIN = 0.02


@dataclass(frozen=True)
class DecodingOptions:
    """How answers are generated. What is None is as the model's own generation configuration has it.

    Args:
        steps: N, the denoising steps.
        remasking: `"low_confidence"`, `"low_margin"`, `"high_entropy"` or `"random"`.
        temperature: 0 takes the most probable tokens.
        guidance_scale: classifier-free guidance; 1 is off.
        seed: makes an answer that draws random numbers reproducible, whatever the batch size.
        confidence_threshold: commit all that is above it in a step, which takes fewer steps than N.
        entropy_bound: with `"high_entropy"`, commit up to so many nats in a step.
    """

    steps: int | None = None
    remasking: str | None = None
    temperature: float | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    confidence_threshold: float | None = None
    entropy_bound: float | None = None

    def generate_arguments(self) -> dict[str, Any]:
        """The arguments of `generate()` that are given; `seed` is not among them."""
        values = {
            "max_denoising_steps": self.steps,
            "remasking": self.remasking,
            "temperature": self.temperature,
            "guidance_scale": self.guidance_scale,
            "confidence_threshold": self.confidence_threshold,
            "entropy_bound": self.entropy_bound,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class _Answer:
    """The answer about one image or tile, with its boxes in pixels of that."""

    text: str
    parsed: bool
    detections: tuple[Detection, ...]
    denoising: Denoising
    choice_probabilities: list[float] | None


class GeoDiTPipeline:
    """Answers questions about images.

    Example:
        >>> pipe = GeoDiTPipeline.from_pretrained("path/to/geodit-tiny")
        >>> pipe("harbor.png", task="detect", query="ship")[0].boxes

    Args:
        model: a `GeoDiTForMaskedDiffusion`. It is moved to `device` and put into evaluation mode.
        processor: its `GeoDiTProcessor`.
        device: where to run; by default a GPU if there is one.
        box_score: how a box is scored from the probabilities of its tokens, a key of
            [`~geodit.pipelines.box_scores.BOX_SCORES`].

    Raises:
        ValueError: if there is no such score.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        device: str | torch.device | None = None,
        *,
        box_score: str = DEFAULT_BOX_SCORE,
    ) -> None:
        self._box_score = get_box_score(box_score)
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model.to(device).eval()
        self.processor = processor
        self._patterns = AnswerPatterns(processor)

    @classmethod
    def from_pretrained(
        cls,
        model: str | PathLike[str] | None = None,
        *,
        adapter: str | PathLike[str] | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        revision: str | None = None,
        adapter_revision: str | None = None,
        local_files_only: bool = False,
        box_score: str = DEFAULT_BOX_SCORE,
    ) -> GeoDiTPipeline:
        """Loads a checkpoint with its processor.

        Args:
            model: a directory, the id of a repository on the Hub, or `"geodit-tiny"`. With `adapter` it is by default
                the one that the adapter was trained on.
            adapter: directory or id of an adapter, such as LoRA, which is merged into the weights.
            device: where to run; by default a GPU if there is one.
            dtype: of the weights, `"auto"` for that of the checkpoint.
            revision: branch, tag or commit of the repository of the model; by default `"main"`, or the one that the
                adapter was trained on.
            adapter_revision: branch, tag or commit of the adapter.
            local_files_only: whether to do without the network.
            box_score: how a box is scored from the probabilities of its tokens.

        Raises:
            OSError: if there is no such checkpoint, or it is not complete.
            ValueError: if there is no such adapter, it is not for that model, neither is given, the model is an
                adapter, or there is no such score.
        """
        get_box_score(box_score)  # before the weights are read
        from geodit.modeling_geodit.adapters import adapter_of, load_merged, processor_folder
        from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
        from geodit.processing.processing_geodit import GeoDiTProcessor

        options: dict[str, Any] = {"revision": revision or "main", "local_files_only": local_files_only}
        if adapter is not None:
            network = load_merged(
                adapter,
                model,
                dtype=dtype,
                revision=revision,
                adapter_revision=adapter_revision,
                local_files_only=local_files_only,
            )
            source = processor_folder(
                adapter, model, adapter_revision=adapter_revision, local_files_only=local_files_only
            )
        elif model is not None:
            base = adapter_of(model, **options)
            if base is not None:
                raise ValueError(
                    f"{model} is an adapter of {base or 'a checkpoint that it does not name'}: use "
                    f"GeoDiTPipeline.from_pretrained({base or 'CHECKPOINT'!r}, adapter={str(model)!r})"
                )
            source = resolve_checkpoint(str(model))
            network = GeoDiTForMaskedDiffusion.from_pretrained(source, dtype=dtype, **options)
        else:
            raise ValueError("give a model, an adapter or both")
        processor = GeoDiTProcessor.from_pretrained(source, **options)
        check_fit(network.config, processor, source)
        return cls(network, processor, device, box_score=box_score)

    def __call__(
        self,
        images: ImageInput | list[ImageInput] | tuple[ImageInput, ...],
        task: str,
        query: str = "",
        *,
        choices: Sequence[str] | None = None,
        pattern: str | None = None,
        structured: bool = True,
        tile_size: int | None = None,
        overlap: float = 0.25,
        bands: Sequence[int] | None = None,
        steps: int | None = None,
        remasking: str | None = None,
        temperature: float | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        confidence_threshold: float | None = None,
        entropy_bound: float | None = None,
        batch_size: int = 8,
        return_denoising: bool = False,
    ) -> list[Prediction]:
        """Asks one question about each image.

        Args:
            images: one image, or a list of them: paths of PNG, JPEG or (Geo)TIFF files, PIL images, uint8
                arrays or [`GeoImage`]s.
            task: a task of the processor: `"caption"`, `"ground"`, `"detect"`, `"vqa"` or `"classify"`.
            query: a phrase to ground, a class to detect, or a question; empty for the other tasks.
            choices: the only answers that there are, such as the classes of a scene; for tasks answered by a text.
            pattern: a regular expression that all of the answer matches, such as `"[0-9]+"`, in their place. It needs
                outlines-core: `pip install 'geodit[structured]'`.
            structured: whether answers by boxes are always well-formed boxes, or the word for none, whatever the
                network says; see [`~geodit.processing.answer_patterns.build_answer_pattern`]. Without it they may not
                parse. Boxes written as numbers need outlines-core for it; where it is missing a warning says so.
            tile_size: side in pixels of the tiles that an image is seen in, for detection in images that show
                far more than one answer holds. By default the image is seen as a whole.
            overlap: share of a tile's side that neighbouring tiles have in common. Objects up to that length
                are seen whole; 0.5 finds a little more than 0.25 at twice the time.
            bands: the band of the files to show as gray, or the three to show as red, green and blue.
            steps: N, the denoising steps. This and the next three are the model's own by default.
            remasking: `"low_confidence"`, `"low_margin"`, `"high_entropy"` or `"random"`.
            temperature: 0 takes the most probable tokens.
            guidance_scale: classifier-free guidance; 1 is off.
            seed: makes answers that draw random numbers reproducible, whatever the batch size.
            confidence_threshold: commit all that is above it in a step, which takes fewer steps than N.
            entropy_bound: with `"high_entropy"`, commit up to so many nats in a step.
            batch_size: images or tiles that run at once.
            return_denoising: whether to tell at which step each token was committed; not with tiles.

        Returns:
            One prediction an image, in their order.

        Raises:
            FileNotFoundError: if an image does not exist.
            ValueError: if an image cannot be read, an argument is out of range, there is no answer that matches, or
                no box fits the canvas of the task.
            ModuleNotFoundError: if `pattern` is given, and outlines-core is not installed.
        """
        self._check(task, query, tile_size, batch_size, return_denoising)
        answer_pattern = self._patterns.find(task, query, choices=choices, expression=pattern, structured=structured)
        options = DecodingOptions(
            steps, remasking, temperature, guidance_scale, seed, confidence_threshold, entropy_bound
        )
        inputs: list[ImageInput] = list(images) if isinstance(images, list | tuple) else [images]
        if tile_size is not None:
            predictions = []
            for image in inputs:
                with as_image_source(image, bands) as source:
                    predictions.append(
                        self.detect_in_tiles(
                            source,
                            query,
                            task,
                            tile_size,
                            overlap,
                            options=options,
                            structured=structured,
                            batch_size=batch_size,
                        )
                    )
            return predictions

        predictions = []
        for start in range(0, len(inputs), batch_size):
            loaded = []
            for image in inputs[start : start + batch_size]:
                with as_image_source(image, bands) as source:
                    loaded.append(source.read())
            pictures = [image.to_pil() for image in loaded]
            answers = self._answer(pictures, task, query, options, start, answer_pattern)
            for image, answer in zip(loaded, answers, strict=True):
                predictions.append(
                    Prediction(
                        task,
                        query,
                        answer.text,
                        image.image_size,
                        boxes=tuple(detection.box for detection in answer.detections),
                        labels=tuple(detection.label for detection in answer.detections),
                        scores=tuple(detection.score for detection in answer.detections),
                        parsed=answer.parsed,
                        choice_probabilities=_by_choice(choices, answer.choice_probabilities),
                        georeference=image.georeference,
                        denoising=answer.denoising if return_denoising else None,
                    )
                )
        return predictions

    def detect_in_tiles(
        self,
        source: ImageSource,
        query: str,
        task: str = "detect",
        tile_size: int = 384,
        overlap: float = 0.25,
        *,
        options: DecodingOptions | None = None,
        structured: bool = True,
        batch_size: int = 8,
        progress: Callable[[int, int], None] | None = None,
    ) -> Prediction:
        """Detects objects tile by tile; no more of the image than a batch of tiles is in memory.

        Args:
            source: the image. Tiles in which it has no data are passed over.
            query: the class to detect.
            task: a task whose answer is a list of boxes.
            tile_size: side of a tile in pixels.
            overlap: share of a tile's side that neighbouring tiles have in common.
            options: how to generate.
            structured: whether answers are always well-formed boxes, or the word for none.
            batch_size: tiles that run at once.
            progress: called with the number of tiles done and of all tiles.

        Returns:
            One prediction for the image; what several tiles have found appears once, best first.
        """
        self._check(task, query, tile_size, batch_size, False)
        pattern = self._patterns.find(task, query, structured=structured)
        windows = tile_windows(source.image_size, tile_size, overlap)
        found: list[Detection] = []
        texts: list[str] = []
        unparsed = 0
        for start, batch, tiles in _read_batches(source, windows, batch_size):
            answers = self._answer(tiles, task, query, options or DecodingOptions(), start, pattern) if tiles else []
            for window, answer in zip(batch, answers, strict=True):
                margin = _CUT_MARGIN * min(window.height, window.width)
                found += [to_image(one, window, source.image_size, margin) for one in answer.detections]
                texts.append(answer.text)
                unparsed += not answer.parsed
            if progress is not None:
                progress(min(start + batch_size, len(windows)), len(windows))
        merged = merge_detections(found)
        return Prediction(
            task,
            query,
            "\n".join(texts),
            source.image_size,
            boxes=tuple(detection.box for detection in merged),
            labels=tuple(detection.label for detection in merged),
            scores=tuple(detection.score for detection in merged),
            parsed=unparsed == 0,
            num_tiles=len(texts),
            num_unparsed_tiles=unparsed,
            georeference=source.georeference,
        )

    def _check(self, task: str, query: str, tile_size: int | None, batch_size: int, return_denoising: bool) -> None:
        self.processor.format_prompt(task, query)  # raises for an unknown task and for a query it cannot take
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if tile_size is None:
            return
        if self.processor.tasks[task].answer != "boxes" or task == "ground":
            raise ValueError(
                f"tile_size is for tasks that list objects, such as detect; {task} is about the whole image"
            )
        if return_denoising:
            raise ValueError("return_denoising is for one answer an image; with tile_size there is one a tile")

    def _answer(
        self,
        images: list[Image.Image],
        task: str,
        query: str,
        options: DecodingOptions,
        first: int,
        pattern: AnswerPattern | None,
    ) -> list[_Answer]:
        """Answers a batch; `first` is the number of its first image among all, which the seeds depend on."""
        text = [query] * len(images) if query else None
        inputs = self.processor(images=images, text=text, task=task, return_tensors="pt")
        inputs = inputs.to(self.model.device, dtype=self.model.dtype)
        arguments = options.generate_arguments()
        if options.seed is not None:
            # A stream of its own for every image, so that answers do not depend on the batch size.
            seeds = [_stream_seed(options.seed, first + row) for row in range(len(images))]
            arguments |= {"seed": None, "generator": [torch.Generator().manual_seed(seed) for seed in seeds]}
        output = self.model.generate(
            **inputs,
            max_new_tokens=self.processor.canvas_length(task),
            answer_pattern=pattern,
            return_dict_in_generate=True,
            **arguments,
        )
        prompt_length = inputs["input_ids"].shape[1]
        canvases = output.sequences[:, prompt_length:].tolist()
        commit_steps, confidences, of_end, num_steps = (
            values.tolist()
            for values in (output.commit_steps, output.confidences, output.end_probabilities, output.steps_made)
        )
        of_choices = [None] * len(images)
        if output.answer_probabilities is not None:
            of_choices = output.answer_probabilities.tolist()
        return [
            self._read_answer(
                canvases[row],
                task,
                query,
                (image.height, image.width),
                Denoising(
                    self._token_texts(canvases[row]), tuple(commit_steps[row]), tuple(confidences[row]), num_steps[row]
                ),
                of_end[row],
                of_choices[row],
            )
            for row, image in enumerate(images)
        ]

    def _read_answer(
        self,
        ids: list[int],
        task: str,
        query: str,
        image_size: tuple[int, int],
        denoising: Denoising,
        end_probabilities: list[float],
        choice_probabilities: list[float] | None,
    ) -> _Answer:
        text = self.processor.decode_canvas(ids)
        result = self.processor.post_process_generation(text, task, image_size, query)
        of_boxes = []
        if result["boxes"]:
            of_boxes = read_box_tokens(self.processor, ids, image_size, denoising.confidences, end_probabilities)
        scores = [self._box_score(tokens) for tokens in of_boxes]
        detections = tuple(
            Detection(_as_box(box), label, score)
            for box, label, score in zip(result["boxes"], result["labels"], scores, strict=True)
        )
        return _Answer(result["text"], result["parsed"], detections, denoising, choice_probabilities)

    def _token_texts(self, ids: list[int]) -> tuple[str, ...]:
        tokenizer = self.processor.tokenizer
        texts = ["[EOS]" if index == tokenizer.eos_token_id else tokenizer.decode([index]) for index in ids]
        return tuple(texts)


def _read_batches(
    source: ImageSource, windows: Sequence[Window], batch_size: int
) -> Iterator[tuple[int, list[Window], list[Image.Image]]]:
    """Start, windows and pixels of each batch, without the windows in which there is no data."""
    for start in range(0, len(windows), batch_size):
        batch, tiles = [], []
        for window in windows[start : start + batch_size]:
            tile = source.read(window)
            if tile.valid is None or tile.valid.any():
                batch.append(window)
                tiles.append(tile.to_pil())
        yield start, batch, tiles


def _by_choice(choices: Sequence[str] | None, probabilities: list[float] | None) -> dict[str, float] | None:
    if choices is None or probabilities is None:
        return None
    return {choice.strip(): probability for choice, probability in zip(choices, probabilities, strict=True)}


def _as_box(values: Sequence[float]) -> Box:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2


def _stream_seed(seed: int, index: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}")
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)
