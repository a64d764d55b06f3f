# SPDX-License-Identifier: Apache-2.0
"""Questions about images: read, ask the model, and read its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import Arguments
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.pipelines.answering import Answerer, Inquiry
from geodit.pipelines.denoising_steps import StepCallback, StepReader
from geodit.pipelines.fit import check_fit
from geodit.pipelines.merging import MergeOptions
from geodit.pipelines.no_data import clip_to_data
from geodit.pipelines.prediction import Prediction
from geodit.pipelines.tile_answers import Tile, answer_tiles, by_choice, merge_tiles, tiled_prediction
from geodit.pipelines.tiling import advise_tiles, corners_of_all, scaled, shape_seen_whole, tile_windows
from geodit.processing.asking import ImageQuestion
from geodit.processing.box_scores import DEFAULT_BOX_SCORE, get_box_score
from geodit.rasters.georeference import MapReference
from geodit.rasters.image_source import ImageSource
from geodit.rasters.imagery import ImageInput, as_image_source
from geodit.rasters.rendering import Rendering
from geodit.weights.bundled import resolve_checkpoint

if TYPE_CHECKING:
    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.processing.processing_geodit import GeoDiTProcessor


class GeoDiTPipeline:
    """Answers questions about images.

    Example:
        >>> from geodit import GeoDiTPipeline
        >>> pipe = GeoDiTPipeline.from_pretrained("geodit-tiny", device="cpu")
        >>> pipe("harbor.tif", task="vqa", query="How many ships are there?")[0].text
        '2'
        >>> [round(x1) for x1, y1, x2, y2 in pipe("harbor.tif", task="detect", query="ship")[0].boxes]
        [43, 65]

    Args:
        model: a `GeoDiTForMaskedDiffusion`. It is moved to `device` and put into evaluation mode.
        processor: its `GeoDiTProcessor`.
        device: where to run; by default a GPU if there is one.
        box_score: how a box is scored from the probabilities of its tokens, a key of
            [`~geodit.processing.box_scores.BOX_SCORES`].

    Raises:
        ValueError: if there is no such score.
    """

    def __init__(
        self,
        model: GeoDiTForMaskedDiffusion,
        processor: GeoDiTProcessor,
        device: str | torch.device | None = None,
        *,
        box_score: str = DEFAULT_BOX_SCORE,
    ) -> None:
        self.answerer = Answerer(model, processor, box_score)  # raises before the model is moved
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model
        network: torch.nn.Module = model  # in Transformers `to` and `eval` have no types
        network.to(device).eval()
        self.processor = processor

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
        """Load a checkpoint with its processor.

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
        from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
        from geodit.processing.processing_geodit import GeoDiTProcessor
        from geodit.weights.adapters import adapter_of, load_merged, processor_folder

        options: Arguments = {"revision": revision or "main", "local_files_only": local_files_only}
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
        tile_size: int | None = None,
        overlap: float = 0.25,
        bands: Sequence[int] | None = None,
        rendering: Rendering | None = None,
        merge: MergeOptions | None = None,
        batch_size: int = 8,
        return_denoising: bool = False,
        step_callback: StepCallback | None = None,
        num_alternatives: int = 0,
        options: DecodingOptions | None = None,
        **decoding: object,
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
            tile_size: side in pixels of the tiles that an image is seen in, for detection in images that show
                far more than one answer holds. By default the image is seen as a whole.
            overlap: share of a tile's side that neighbouring tiles have in common. Objects up to that length
                are seen whole; 0.5 finds a little more than 0.25 at twice the time.
            bands: the band of the files to show as gray, or the three to show as red, green and blue.
            rendering: how bands become 8-bit RGB. Boxes do not lie where a file has no data.
            merge: how the detections of tiles are merged.
            batch_size: images or tiles that run at once. Those that follow are read in the meantime.
            return_denoising: whether to tell at which step each token was committed; not with tiles.
            step_callback: called with a [`~geodit.pipelines.denoising_steps.DenoisingStep`] after every step, of one
                image that is seen as a whole. What it raises ends the call, and nothing more is computed.
            num_alternatives: how many of the most probable tokens of each position a step tells.
            options: how to decode. Where boxes are written as numbers, `structured` needs outlines-core; where it is
                missing a warning says so.
            **decoding: fields of [`~geodit.configuration.decoding_options.DecodingOptions`] that differ from
                `options`, such as `max_denoising_steps=4`.

        Returns:
            One prediction an image, in their order.

        Raises:
            FileNotFoundError: if an image does not exist.
            ValueError: if an image cannot be read, an argument is out of range, there is no answer that matches, or
                no box fits the canvas of the task.
            ModuleNotFoundError: if `pattern` is given, and outlines-core is not installed.
        """
        options = (options or DecodingOptions()).with_changes(**decoding)
        inquiry = _inquiry(task, query, choices, pattern, options)
        self._check(inquiry, tile_size, batch_size, return_denoising)
        inputs: list[ImageInput] = list(images) if isinstance(images, list | tuple) else [images]
        if step_callback is not None and (tile_size is not None or len(inputs) != 1):
            raise ValueError("step_callback is for one image that is seen as a whole: omit tile_size, give one image")
        if tile_size is not None:
            predictions = []
            for image in inputs:
                with as_image_source(image, bands, rendering) as source:
                    predictions.append(
                        self.detect_in_tiles(
                            source,
                            query,
                            task,
                            tile_size,
                            overlap,
                            options=options,
                            merge=merge,
                            batch_size=batch_size,
                        )
                    )
            return predictions

        georeferences: dict[int, MapReference | None] = {}
        sizes: dict[int, tuple[int, int]] = {}
        valid: dict[int, NDArray[np.bool_] | None] = {}
        side, advises_tiles = self.answerer.image_side, self.answerer.lists_objects(task)

        def read() -> Iterator[ImageQuestion]:
            for number, image in enumerate(inputs):
                with as_image_source(image, bands, rendering) as source:
                    if advises_tiles:
                        name = str(image) if isinstance(image, str | PathLike) else f"image {number}"
                        advise_tiles(name, source.image_size, side)
                    loaded = source.read(shape=shape_seen_whole(source.image_size, side))
                    georeferences[number], sizes[number] = source.georeference, source.image_size
                valid[number] = loaded.valid
                yield ImageQuestion(loaded.to_pil(), number=number)

        steps = StepReader(self.answerer, inquiry)

        def watch(state: DenoisingState) -> None:
            if step_callback is not None:
                step_callback(steps.read(state, sizes[0]))

        found: dict[int, Prediction] = {}
        answers = self.answerer.answer(
            read(),
            inquiry,
            batch_size,
            step_callback=None if step_callback is None else watch,
            num_alternatives=num_alternatives,
        )
        for number, _, answer in answers:
            height, width = sizes[number]
            factors = width / answer.image_size[1], height / answer.image_size[0]
            detections = [scaled(one, *factors) for one in clip_to_data(answer.detections, valid.pop(number))]
            found[number] = Prediction(
                task,
                query,
                answer.text,
                sizes[number],
                boxes=tuple(detection.box for detection in detections),
                labels=tuple(detection.label for detection in detections),
                scores=tuple(detection.score for detection in detections),
                corners=corners_of_all(detections),
                parsed=answer.parsed,
                choice_probabilities=by_choice(choices, answer.choice_probabilities),
                georeference=georeferences[number],
                denoising=answer.denoising if return_denoising else None,
            )
        return [found[number] for number in range(len(inputs))]

    def detect_in_tiles(
        self,
        source: ImageSource,
        query: str,
        task: str = "detect",
        tile_size: int = 384,
        overlap: float = 0.25,
        *,
        options: DecodingOptions | None = None,
        merge: MergeOptions | None = None,
        batch_size: int = 8,
        progress: Callable[[int, int], None] | None = None,
        **decoding: object,
    ) -> Prediction:
        """Detect objects tile by tile; no more of the image than a few batches of tiles is in memory.

        Tiles are read while others are answered.

        Args:
            source: the image. Tiles in which it has no data are passed over.
            query: the class to detect.
            task: a task whose answer is a list of boxes.
            tile_size: side of a tile in pixels.
            overlap: share of a tile's side that neighbouring tiles have in common.
            options: how to decode.
            merge: how the detections of all tiles are merged.
            batch_size: tiles that run at once.
            progress: called with the number of tiles done and of all tiles.
            **decoding: fields of `DecodingOptions` that differ from `options`.

        Returns:
            One prediction for the image; what several tiles have found appears once, best first.
        """
        options = (options or DecodingOptions()).with_changes(**decoding)
        inquiry = _inquiry(task, query, None, None, options)
        self._check(inquiry, tile_size, batch_size, False)
        windows = tile_windows(source.image_size, tile_size, overlap)
        tiles = (
            Tile(number, window, source.image_size, partial(source.read, window))
            for number, window in enumerate(windows)
        )
        report = None if progress is None else partial(_report, progress, len(windows))
        answers = answer_tiles(self.answerer, tiles, inquiry, batch_size=batch_size, progress=report)
        for tile in answers:
            if tile.error:
                raise ValueError(tile.error)
        size = source.image_size
        found = merge_tiles(answers, query, size, merge)
        return tiled_prediction(answers, inquiry, query, found, size, source.georeference)

    def _check(self, inquiry: Inquiry, tile_size: int | None, batch_size: int, return_denoising: bool) -> None:
        self.answerer.check(inquiry)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if tile_size is None:
            return
        if not self.answerer.lists_objects(inquiry.task):
            raise ValueError(
                f"tile_size is for tasks that list objects, such as detect; {inquiry.task} is about the whole image"
            )
        if return_denoising:
            raise ValueError("return_denoising is for one answer an image; with tile_size there is one a tile")


def _inquiry(
    task: str, query: str, choices: Sequence[str] | None, pattern: str | None, options: DecodingOptions
) -> Inquiry:
    return Inquiry(task, (query,), None if choices is None else tuple(choices), pattern, options)


def _report(progress: Callable[[int, int], None], total: int, done: int) -> None:
    progress(done, total)
