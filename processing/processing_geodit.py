# SPDX-License-Identifier: Apache-2.0
"""From images and questions to tensors, and from generated tokens to captions, labels and boxes."""

from __future__ import annotations

# First of all, as what follows cannot be imported from a Transformers that is too old.
from geodit.configuration.requirements_geodit import TRANSFORMERS  # noqa: F401

# isort: split
import difflib
import inspect
import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, is_typeddict

import numpy as np
import torch
from PIL import Image
from transformers import (
    BatchFeature,
    LlavaOnevisionImageProcessorPil,
    PreTrainedTokenizerBase,
    SiglipImageProcessorPil,
)
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.processing_utils import MultiModalData, TextKwargs
from transformers.utils import logging

from geodit.configuration.anyres_geodit import anyres_max_tiles, check_grid_pinpoints
from geodit.configuration.older_transformers_geodit import BaseProcessor
from geodit.configuration.remote_code_geodit import PROCESSOR_AUTO_MAP, RemoteCodeMixin
from geodit.configuration.types_geodit import Batch, JsonObject
from geodit.modeling_geodit.choices_geodit import ChoicesPattern
from geodit.modeling_geodit.patterns_geodit import AnswerPattern, BoxListPattern
from geodit.processing.boxes_geodit import NO_BOXES, BoxCodec, get_box_codec
from geodit.processing.images_geodit import group_images
from geodit.processing.tasks_geodit import Task, load_tasks, names_several_classes, resolve_task

logger = logging.get_logger(__name__)

# In both templates all images of the conversation come first, before the beginning of the text.
_IMAGES_FIRST = (
    "{%- for message in messages -%}"
    "{%- if message['content'] is not string -%}"
    "{%- for block in message['content'] -%}"
    "{%- if block['type'] == 'image' -%}{{- '<image>' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
)
_TEXT_OF_MESSAGE = (
    "{%- macro text_of(message) -%}"
    "{%- if message['content'] is string -%}{{- message['content'] | trim -}}"
    "{%- else -%}"
    "{%- for block in message['content'] -%}"
    "{%- if block['type'] == 'text' -%}{{- block['text'] | trim -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{%- endmacro -%}"
)


def _marked_if_generated(text: str) -> str:
    """Mark what the assistant writes, for `apply_chat_template(..., return_assistant_tokens_mask=True)`."""
    generated = "{%- generation -%}" + text + "{%- endgeneration -%}"
    return "{%- if message['role'] == 'assistant' -%}" + generated + "{%- else -%}" + text + "{%- endif -%}"


CHAT_TEMPLATE = (
    _TEXT_OF_MESSAGE
    + _IMAGES_FIRST
    + "{{- bos_token -}}"
    + "{%- for message in messages -%}"
    + "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' -}}"
    + _marked_if_generated("{{- text_of(message) + '<|eot_id|>' -}}")
    + "{%- endfor -%}"
    + "{%- if add_generation_prompt -%}"
    + "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}"
    + "{%- endif -%}"
)
"""The format of LLaDA-8B-Instruct, with the images before it.

Source: the chat template of the published GSAI-ML/LLaDA-8B-Instruct tokenizer.
"""

COMPACT_CHAT_TEMPLATE = (
    _TEXT_OF_MESSAGE
    + _IMAGES_FIRST
    + "{%- for message in messages -%}"
    + "{{- '<|' + message['role'] + '|>' -}}"
    + _marked_if_generated("{{- text_of(message) -}}")
    + "{%- endfor -%}"
    + "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
"""A template for small models, which adds two tokens to a question: `<|user|>Detect: ship.<|assistant|>`."""

_ADD_TOKENS = "Add it to the tokenizer and the model's embeddings, as `geodit.processing.tokenization` does."

_WRONG_IDS = "`ids` must be token ids of shape (L,) or (B, L)."


class GeoDiTProcessor(RemoteCodeMixin, BaseProcessor):
    """Makes the inputs of a GeoDiT model and reads its answers.

    A sequence is laid out as `[<image> * n][prompt in the chat template][canvas]`; the processor makes
    everything before the canvas, `generate` adds the canvas.

    Example:
        >>> inputs = processor(images=image, text="ship", task="detect", return_tensors="pt")
        >>> pattern = processor.answer_pattern("detect", "ship")
        >>> length = processor.canvas_length("detect")
        >>> output = model.generate(**inputs, max_new_tokens=length, answer_pattern=pattern)
        >>> answer = processor.decode_canvas(output[0, inputs["input_ids"].shape[1] :])
        >>> processor.post_process_generation(answer, task="detect", image_size=(height, width), query="ship")

    Args:
        image_processor: A stock image processor, SigLIP's or, to see images in tiles, LLaVA-OneVision's. It is always
            used on Pillow, whose resampling the checkpoints were trained with; on torchvision pixels differ slightly.
        tokenizer: A tokenizer that has `image_token` and, for the box format `"location_tokens"`, the tokens
            `<loc_0>`, `<loc_1>`, ... each as a single token, and an EOS token.
        chat_template: Jinja template, which writes `image_token` for each image; `CHAT_TEMPLATE` by default.
        tasks: The tasks by name, as `Task` or as dictionaries of its fields; `DEFAULT_TASKS` by default.
        box_format: How boxes are written, one of `geodit.processing.boxes_geodit.BOX_FORMATS`.
        location_bins: Number of location tokens in use; by default all that the tokenizer has.
        image_token: The placeholder of an image in a text.
        num_image_tokens: How many tokens an image takes (n): for a ViT the number of patches,
            `(image_size // patch_size) ** 2`, which is 729 for SigLIP so400m at 384 pixels. With tiles, the tokens of
            each tile.
        vision_aspect_ratio: How the model sees images, as in its configuration. `"square"` makes one picture of each
            image. `"anyres_max_<k>"`, such as LLaDA-V's `"anyres_max_4"`, cuts each image into tiles beside a small
            version of the whole; then `count_image_tokens` tells how many tokens an image takes. Boxes are not
            concerned: they are in pixels of the whole, original image either way.

    Raises:
        ValueError: If the tokenizer lacks a token, a value is not among those allowed, or the image processor is not
            one for this `vision_aspect_ratio`.
    """

    # Defaults, which arguments of the tokenizer and of a call override.
    text_kwargs: TextKwargs = {
        "padding": True,
        "padding_side": "left",
        "add_special_tokens": False,  # the template has them
        "return_token_type_ids": False,
    }

    # How LLaVA-OneVision counts the tokens of an image, from attributes that have the same names here.
    _get_number_of_features: Any = LlavaOnevisionProcessor._get_number_of_features
    _get_unpadded_features: Any = LlavaOnevisionProcessor._get_unpadded_features

    def __init__(
        self,
        image_processor: BaseImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | dict[str, str] | None = None,
        tasks: Mapping[str, Task | JsonObject] | None = None,
        box_format: str = "location_tokens",
        location_bins: int | None = None,
        image_token: str = "<image>",
        num_image_tokens: int = 729,
        vision_aspect_ratio: str = "square",
    ) -> None:
        if type(num_image_tokens) is not int or num_image_tokens < 1:
            raise ValueError(f"`num_image_tokens` must be a positive integer, got {num_image_tokens!r}.")
        image_processor = _on_pillow(image_processor)
        max_tiles = anyres_max_tiles(vision_aspect_ratio)
        _check_image_processor(image_processor, max_tiles, num_image_tokens)
        if chat_template is None:
            chat_template = CHAT_TEMPLATE.replace("<image>", image_token)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)  # type: ignore[no-untyped-call]

        vocabulary: dict[str, int] = tokenizer.get_vocab()
        if image_token not in vocabulary:
            raise ValueError(f"The tokenizer has no image token {image_token!r}. {_ADD_TOKENS}")
        if tokenizer.eos_token_id is None:
            raise ValueError("The tokenizer has no EOS token, which ends an answer on the canvas.")
        self.image_token = image_token
        self.image_token_id = vocabulary[image_token]
        self.num_image_tokens = num_image_tokens
        self.vision_aspect_ratio = vision_aspect_ratio
        self._tiled = max_tiles is not None
        self.tasks = load_tasks(tasks)
        num_locations = _count_location_tokens(vocabulary)
        if box_format == "location_tokens" and num_locations < (location_bins or 1):
            raise ValueError(f"The tokenizer has no token {location_token(num_locations)!r}. {_ADD_TOKENS}")
        self.box_format = box_format
        self.location_bins = num_locations if location_bins is None else location_bins
        self.box_codec: BoxCodec = get_box_codec(box_format, self.location_bins)

        # Special for the tokenizer are also tokens without a role, such as LLaDA's <|eot_id|>.
        special = set(tokenizer.all_special_ids) | {
            index for index, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        self._special_ids = frozenset(special - {vocabulary[location_token(index)] for index in range(num_locations)})
        self._special_tokens = tuple(tokenizer.convert_ids_to_tokens(sorted(self._special_ids)))

    def __call__(
        self,
        images: object = None,
        text: str | Sequence[str] | None = None,
        videos: object = None,
        audio: object = None,
        task: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Make the inputs of a model for one question or a batch of B.

        Args:
            images: One image, a list of one image for each text, or a list of lists with the images of each
                text (which may be empty). An image is a PIL image of 8 bits a sample, an array or tensor of 1, 3 or 4
                channels first or last (uint8, or floats from 0 to 1), the bytes of a file, its path, URL or base64, or
                a dictionary of `bytes` and `path`. All are converted to RGB. So rows of a data set can be passed as
                they are, in each of its formats. See `geodit.processing.images_geodit` for the rules, and for the
                shapes that `input_data_format="channels_first"` or `"channels_last"` makes unambiguous.
            text: With `task`, what the user asks (the query), None for tasks without a query. Without `task`,
                a whole prompt that is used as it stands: the output of `apply_chat_template`, or any text.
                `<image>` marks the place of an image; if there is none, the image comes first of all.
            videos: Ignored with a warning, as other processors of images and text do.
            audio: Ignored with a warning, as other processors of images and text do.
            task: A task of `self.tasks`, or one for each text.
            **kwargs: Arguments of the tokenizer and the image processor, such as `return_tensors="pt"`,
                `padding_side`, or `text_kwargs`, `images_kwargs` and `common_kwargs`, in the order of precedence of
                [`~transformers.ProcessorMixin`]. By default texts are padded to the longest, on the left unless the
                tokenizer was told otherwise.

        Returns:
            `input_ids` (B, L) and `attention_mask` (B, L) if there is a text or a task, `pixel_values`
            (number of images, 3, H, W) if there are images.

            With `vision_aspect_ratio="anyres_max_<k>"`, `pixel_values` are (number of images, T, 3, H, W): of each
            image a small version of the whole, its tiles row by row, and zeros up to the T pictures of the image that
            has most. `image_sizes` (number of images, 2), height and width in pixels, tell the model the grids.

        Raises:
            ValueError: If images and texts do not match in number, a task is unknown or misses its query, an
                image is of a kind that cannot be used, an argument is unknown, or a text has several images, which
                `vision_aspect_ratio="anyres_max_<k>"` does not take.
        """
        for name, given in (("videos", videos), ("audio", audio)):
            if given is not None:
                logger.warning_once(f"GeoDiT reads images and text: the argument `{name}` is ignored.")
        self._check_kwargs(kwargs)
        image_groups = None
        if images is not None:
            image_groups = group_images(
                images,
                input_data_format=_image_argument("input_data_format", kwargs),
                do_rescale=_image_argument("do_rescale", kwargs, getattr(self.image_processor, "do_rescale", True)),
            )

        if task is not None:
            texts = self._render_tasks(task, text, None if image_groups is None else list(map(len, image_groups)))
        elif text is None:
            texts = None
        else:
            texts = _list_of_strings("text", text)
        images_of_a_text = [len(group) for group in image_groups or []]
        # Text marked by `sanitize_control_tokens` holds no placeholders but those of the template.
        if texts is not None and not kwargs.get("sanitize_control_tokens"):
            texts = self._place_images(texts, image_groups)
            images_of_a_text += [sample.count(self.image_token) for sample in texts]
        # LLaVA shows a model several images in yet another way, as pictures padded to squares.
        if self._tiled and max(images_of_a_text, default=0) > 1:
            raise ValueError(
                f"With vision_aspect_ratio={self.vision_aspect_ratio!r} a text takes one image, got "
                f"{max(images_of_a_text)}. Ask about one image at a time."
            )

        flat_images = None if image_groups is None else [image for group in image_groups for image in group]
        inputs: BatchFeature = super().__call__(images=flat_images or None, text=texts, **kwargs)
        return inputs

    def prompt_inputs(self, task: str, queries: Sequence[str], image_sizes: Sequence[tuple[int, int]]) -> BatchFeature:
        """Make the tokens of questions about images that the model has encoded already.

        Args:
            task: A task of `self.tasks`.
            queries: What the user asks, one of each image.
            image_sizes: `(height, width)` of the images in pixels.

        Returns:
            `input_ids` and `attention_mask` (B, L) as PyTorch tensors: what a call with the images returns, without
            the images. `generate` takes it with `image_prefix`.

        Raises:
            ValueError: If queries and images do not match in number, or the task is unknown or misses its query.
        """
        texts = self._render_tasks(task, queries, [1] * len(image_sizes))
        places = [self.image_token * self.count_image_tokens(size) for size in image_sizes]
        filled = [text.replace(self.image_token, place) for text, place in zip(texts, places, strict=True)]
        side = self.tokenizer.init_kwargs.get("padding_side", "left")
        encoded = self.tokenizer(filled, padding=True, padding_side=side, return_tensors="pt")
        return BatchFeature({name: encoded[name] for name in ("input_ids", "attention_mask")})

    def count_image_tokens(self, image_size: tuple[int, int]) -> int:
        """Return how many tokens an image takes.

        Args:
            image_size: `(height, width)` of the image in pixels.
        """
        if not self._tiled:
            return self.num_image_tokens
        tile = self.image_processor.size
        return int(self._get_number_of_features(*image_size, tile["height"], tile["width"]))

    def _get_num_multimodal_tokens(
        self, image_sizes: Iterable[Sequence[int]] | None = None, **kwargs: object
    ) -> MultiModalData:
        """Return how many tokens images of these sizes, (height, width) in pixels, take: what vLLM asks for."""
        self._check_kwargs(kwargs)
        if image_sizes is None:
            return MultiModalData()
        counts = [self.count_image_tokens((height, width)) for height, width in image_sizes]
        return MultiModalData(num_image_tokens=counts, num_image_patches=[1] * len(counts))

    def replace_image_token(self, image_inputs: Batch, image_idx: int, **kwargs: object) -> str:
        """Return what takes the place of one `<image>`: the image token, once for each of the image's features."""
        if not self._tiled:
            return self.image_token * self.num_image_tokens
        height, width = image_inputs["image_sizes"][image_idx]
        return self.image_token * self.count_image_tokens((int(height), int(width)))

    @property
    def unused_input_names(self) -> list[str]:
        """What the image processor of LLaVA-OneVision returns and the model does not take."""
        return ["batch_num_images"]

    def _process_images(self, images: Any, **kwargs: Any) -> Any:
        kwargs.pop("input_data_format", None)  # these are PIL images by now
        return super()._process_images(images, **kwargs)

    @classmethod
    def _get_arguments_from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        processor_dict: JsonObject | None = None,
        **kwargs: object,
    ) -> Any:
        """Load the tokenizer and the image processor, which are not told what only the processor takes."""
        own = _own_arguments(cls)
        for name in kwargs.keys() - own:
            close = difflib.get_close_matches(name, own, cutoff=0.85)
            if close:
                raise ValueError(f"Unknown argument {name!r}. Did you mean {close[0]}?")
        # The chat template is also the tokenizer's: the two share its file.
        of_parts = {name: value for name, value in kwargs.items() if name not in own or name == "chat_template"}
        return super()._get_arguments_from_pretrained(pretrained_model_name_or_path, processor_dict, **of_parts)  # type: ignore[no-untyped-call]

    @classmethod
    def from_args_and_dict(cls, args: Any, processor_dict: JsonObject, **kwargs: object) -> Self:
        """Make a processor of its parts and of what processor_config.json says, overridden by `kwargs`.

        Raises:
            ValueError: If a value is not among those allowed, or the chat template does not write the image token.
        """
        template = {**processor_dict, **kwargs}.get("chat_template")
        token = kwargs.get("image_token")
        templates = template.values() if isinstance(template, Mapping) else [template]
        if token is not None and any(one and token not in one and "image_token" not in one for one in templates):
            raise ValueError(
                f"The chat template does not write the image token {token!r}. Give a `chat_template`, too."
            )
        made: Self = super().from_args_and_dict(args, processor_dict, **kwargs)
        return made

    def to_dict(self) -> JsonObject:
        """Return everything that `save_pretrained` writes to processor_config.json."""
        output: JsonObject = super().to_dict()
        output["tasks"] = {name: task.to_dict() for name, task in self.tasks.items()}
        output["auto_map"] = dict(PROCESSOR_AUTO_MAP)
        return output

    # Tasks

    def format_prompt(self, task: str, query: str = "") -> str:
        """Return the prompt of a task, without the chat template.

        Args:
            task: A task of `self.tasks`.
            query: What the user asks; empty for tasks without a query.

        Raises:
            ValueError: If the task is unknown, needs a query and gets none, or takes none and gets one, or if
                the query holds a special token of the tokenizer.
        """
        prompt = resolve_task(self.tasks, task).format_prompt(query)
        found = [token for token in self._special_tokens if token in query]
        if found:
            raise ValueError(f"The query {query!r} holds the special token {found[0]!r}, which would be read as such.")
        return prompt

    def canvas_length(self, task: str) -> int:
        """Return how many tokens the answer to a task has at most.

        Raises:
            ValueError: If the task is unknown.
        """
        return resolve_task(self.tasks, task).max_new_tokens

    def answer_pattern(self, task: str, query: str = "") -> AnswerPattern | None:
        """Return what every answer to a task looks like, for `generate(answer_pattern=...)`; None for any text.

        Tasks that are answered by boxes have one where boxes are written by location tokens: boxes with an area, one
        after the other and without labels, or the word for none. For boxes in numbers, see
        `geodit.processing.answer_patterns.build_answer_pattern`.

        Args:
            task: A task of `self.tasks`.
            query: What the user asks. The answer to several classes, separated by commas or semicolons, has labels,
                for which the pattern has no place: then it is None.

        Raises:
            ValueError: If the task is unknown.
        """
        if resolve_task(self.tasks, task).answer != "boxes" or self.box_format != "location_tokens":
            return None
        if names_several_classes(query):
            return None
        tokens = [location_token(index) for index in range(self.location_bins)]
        return BoxListPattern(
            self.tokenizer.convert_tokens_to_ids(tokens),
            [self.tokenizer.eos_token_id],
            self.tokenizer(NO_BOXES, add_special_tokens=False).input_ids,
        )

    def choices_pattern(self, choices: Sequence[str], canvas_length: int | None = None) -> ChoicesPattern:
        """Return the pattern of answers that are one of some texts, for `generate(answer_pattern=...)`.

        Args:
            choices: The texts, without regard to space around them.
            canvas_length: Tokens that each of them has to fit into; `None` for any number.

        Raises:
            ValueError: If there are no choices, or one is empty, stands there twice, holds a special token or does not
                fit.
        """
        if isinstance(choices, str) or not choices or not all(isinstance(choice, str) for choice in choices):
            raise ValueError(f"`choices` must be one or more strings in a list, got {choices!r}.")
        answers: list[list[int]] = []
        for choice in choices:
            if not choice.strip():
                raise ValueError(f"The choice {choice!r} is empty: give each choice a text.")
            if answers.count(answer := self._text_ids(choice.strip())):
                raise ValueError(f"The choice {choice!r} stands there twice: leave one out.")
            if found := [token for token in self._special_tokens if token in choice]:
                raise ValueError(f"The choice {choice!r} holds the special token {found[0]!r}: leave it out.")
            if canvas_length is not None and len(answer) > canvas_length:
                raise ValueError(
                    f"The choice {choice!r} has {len(answer)} tokens, but an answer at most {canvas_length}: shorten "
                    "it, or give the task a larger `max_new_tokens`."
                )
            answers.append(answer)
        return ChoicesPattern(answers, [self.tokenizer.eos_token_id])

    def format_answer(
        self,
        task: str,
        answer: str = "",
        boxes: Sequence[Sequence[float]] = (),
        labels: Sequence[str] = (),
        image_size: tuple[int, int] | None = None,
        corners: Sequence[Sequence[Sequence[float]] | None] = (),
    ) -> str:
        """Write the right answer to a task, as a model should.

        Boxes are written from left to right, by x1 and then y1; labels only if there is more than one, since
        otherwise the question has named it. No boxes are written as `none`. A turned box is written with its angle if
        the box format has one, else as the upright box.

        Args:
            task: A task of `self.tasks`.
            answer: The answer of a text task.
            boxes: The answer of a box task, `[x1, y1, x2, y2]` in pixels.
            labels: One label for each box, or none at all.
            image_size: `(height, width)` of the image in pixels; needed to write boxes.
            corners: The four corners of each box that is turned, and None for each that is upright; empty if all are.

        Returns:
            The answer as text.

        Raises:
            ValueError: If the task is unknown, the answer is of the wrong kind for it, or a box cannot be
                written.
        """
        if resolve_task(self.tasks, task).answer == "text":
            if len(boxes) or not answer.strip():
                raise ValueError(f"Task {task!r} is answered by a text that is not empty, and by no boxes.")
            return answer.strip()
        if answer:
            raise ValueError(f"Task {task!r} is answered by boxes, not by the text {answer!r}.")
        if len(labels) and len(labels) != len(boxes):
            raise ValueError(
                f"There must be one label for each box or none, got {len(labels)} for {len(boxes)} boxes."
            )
        if len(corners) and len(corners) != len(boxes):
            raise ValueError(f"There must be corners for each box or none, got {len(corners)} for {len(boxes)} boxes.")
        if len(boxes) and image_size is None:
            raise ValueError("`image_size`, (height, width) in pixels, is needed to write boxes.")
        order = sorted(range(len(boxes)), key=lambda index: (float(boxes[index][0]), float(boxes[index][1])))
        return self.box_codec.encode(
            [boxes[index] for index in order],
            image_size or (1, 1),  # without boxes the size does not matter
            [labels[index] for index in order] if len(set(labels)) > 1 else None,
            corners=[corners[index] for index in order] if len(corners) else None,
        )

    def encode_answer(self, text: str, canvas_length: int) -> list[int]:
        """Turn an answer into the token ids of a whole canvas.

        An answer shorter than the canvas is followed by EOS tokens up to its end. One that is too long is
        shortened: if it has boxes, to as many of its first boxes as fit; if not, to its first `canvas_length`
        tokens.

        Args:
            text: The answer, as `format_answer` writes it.
            canvas_length: Number of tokens of the canvas.

        Returns:
            Exactly `canvas_length` token ids.

        Raises:
            ValueError: If not even one box fits, or the canvas has no tokens.
        """
        if canvas_length < 1:
            raise ValueError(f"`canvas_length` must be positive, got {canvas_length!r}.")
        ids = self._text_ids(text)
        if len(ids) > canvas_length:
            ends = self.box_codec.box_ends(text)
            if not ends:
                ids = ids[:canvas_length]
            for end in reversed(ends):
                ids = self._text_ids(text[:end])
                if len(ids) <= canvas_length:
                    break
            else:
                if ends:
                    raise ValueError(
                        f"Not even one box of the answer fits a canvas of {canvas_length} tokens: the first "
                        f"needs {len(ids)}. Give the task a larger `max_new_tokens` or use another box "
                        "format."
                    )
        return ids + [self.tokenizer.eos_token_id] * (canvas_length - len(ids))

    # From tokens to answers

    def decode_canvas(self, ids: object) -> str | list[str]:
        """Read canvases: the text up to the first EOS, with location tokens, without other special tokens.

        Args:
            ids: Token ids (L,) or (B, L), as a tensor, an array or lists. Only the canvas, not the prompt.

        Returns:
            One text for ids (L,), a list of B texts for ids (B, L).

        Raises:
            ValueError: If the ids have another number of dimensions.
        """
        rows = _to_list(ids)
        if not isinstance(rows, list):
            raise ValueError(_WRONG_IDS)
        if rows and isinstance(rows[0], (list, tuple, torch.Tensor, np.ndarray)):
            return [self._decode_row(_to_list(row)) for row in rows]
        return self._decode_row(rows)

    def post_process_generation(
        self,
        text: str,
        task: str,
        image_size: tuple[int, int] | None = None,
        query: str | None = None,
    ) -> JsonObject:
        """Read the answer to a task.

        Args:
            text: The answer, as `decode_canvas` returns it. Any text is accepted.
            task: The task that was asked.
            image_size: `(height, width)` of the original image in pixels; needed to read boxes.
            query: What was asked; the label of boxes that have none in the text.

        Returns:
            A dictionary of

            * `text` (`str`): the answer without space around it,
            * `boxes` (`list[list[float]]`): `[x1, y1, x2, y2]` in pixels of the original image, inside it;
                empty for tasks answered by a text,
            * `labels` (`list[str]`): one for each box,
            * `corners` (`list[Corners | None]`), only if a box is turned: for each box its four corners `(x, y)` in
                pixels, which may lie outside the image, or None if it is upright. `boxes` has the upright box around
                them, cut off at the border of the image,
            * `parsed` (`bool`): whether the text could be understood as an answer to this task. A text answer
                only has to be there; for boxes see `BoxParse.parsed`. The well-formed boxes of an answer that could
                not be understood as a whole are in `boxes` all the same.

        Raises:
            ValueError: If the task is unknown, `text` is not a single string, or the image size is missing or
                not two positive numbers.
        """
        if not isinstance(text, str):
            raise ValueError(f"`text` must be one answer as a string, got {type(text).__name__}.")
        if resolve_task(self.tasks, task).answer == "text":
            return {"text": text.strip(), "boxes": [], "labels": [], "parsed": bool(text.strip())}
        if image_size is None:
            raise ValueError("`image_size`, (height, width) in pixels, is needed to read boxes.")
        parse = self.box_codec.decode(text, image_size)
        labels = [(query or "") if label is None else label for label in parse.labels]
        answer: JsonObject = {"text": text.strip(), "boxes": parse.boxes, "labels": labels, "parsed": parse.parsed}
        if any(parse.corners):
            answer["corners"] = parse.corners
        return answer

    # Internals

    def _text_ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _decode_row(self, ids: object) -> str:
        if not isinstance(ids, list) or not all(isinstance(index, (int, np.integer)) for index in ids):
            raise ValueError(_WRONG_IDS)
        if self.tokenizer.eos_token_id in ids:
            ids = ids[: ids.index(self.tokenizer.eos_token_id)]
        kept = [int(index) for index in ids if index not in self._special_ids]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _render_tasks(
        self,
        task: str | Sequence[str],
        text: str | Sequence[str] | None,
        image_counts: list[int] | None,
    ) -> list[str]:
        """Return the prompts of tasks in the chat template, with a placeholder for each of so many images."""
        names = _list_of_strings("task", task)
        if text is not None:
            queries = _list_of_strings("text", text)
        else:
            queries = [""] * (len(image_counts or [0]) if isinstance(task, str) else len(names))
        if isinstance(task, str):
            names = names * len(queries)
        if len(names) != len(queries):
            raise ValueError(f"There must be one task for each text, got {len(names)} tasks for {len(queries)} texts.")
        counts = [0] * len(queries) if image_counts is None else image_counts
        if len(counts) != len(queries):
            raise ValueError(_count_error(sum(counts), len(queries)))
        prompts = []
        for name, query, count in zip(names, queries, counts, strict=True):
            question = {"type": "text", "text": self.format_prompt(name, query)}
            message: JsonObject = {"role": "user", "content": [{"type": "image"}] * count + [question]}
            prompts.append(self.apply_chat_template([message], add_generation_prompt=True))
        return prompts

    def _place_images(self, texts: list[str], image_groups: list[list[Image.Image]] | None) -> list[str]:
        """Put a placeholder first of all for the images that a text does not place itself."""
        placed = [sample.count(self.image_token) for sample in texts]
        given = [len(group) for group in image_groups or []]
        complete = sum(placed) == sum(given)
        if not complete and len(given) == len(texts):
            texts = [
                sample if count else self.image_token * number + sample
                for sample, count, number in zip(texts, placed, given, strict=True)
            ]
            filled = [count or number for count, number in zip(placed, given, strict=True)]
            complete = sum(filled) == sum(given)
        # Groups of several images say which text each image belongs to.
        elif complete and any(number != 1 for number in given):
            complete = given == placed
        if not complete:
            token = self.image_token
            raise ValueError(
                f"{_count_error(sum(given), len(texts))} The number of {token} tokens in the prompts should be the "
                f"same as the number of images, if there are any. Found {sum(placed)} {token}."
            )
        return texts

    def _check_kwargs(self, kwargs: Mapping[str, object]) -> None:
        """Refuse arguments that neither Transformers nor a part knows, of which Transformers itself only warns."""
        kinds = {
            name: set(kind.__annotations__)
            for name, kind in self.valid_processor_kwargs.__annotations__.items()
            if is_typeddict(kind)
        }
        image_kwargs = getattr(self.image_processor, "valid_kwargs", None)
        kinds["images_kwargs"] |= set(getattr(image_kwargs, "__annotations__", ()))
        flat = {"common_kwargs", *self.valid_processor_kwargs.__annotations__}.union(*kinds.values())
        _check_names(kwargs, flat, "argument", suggestions=("images", "text", "task"))
        kinds["text_kwargs"] |= inspect.signature(self.tokenizer.__call__).parameters.keys() - {"text", "kwargs"}
        kinds["common_kwargs"] = kinds["text_kwargs"] & kinds["images_kwargs"]  # each of them goes to both
        for name, value in kwargs.items():
            if name in kinds:
                if not isinstance(value, Mapping):
                    raise ValueError(f"`{name}` must be a dictionary of arguments, got {value!r}.")
                _check_names(value, kinds[name], f"argument in {name}:")


def _own_arguments(processor_class: type[GeoDiTProcessor]) -> set[str]:
    """Return the names of what the constructor takes beside the parts."""
    parts: list[str] = processor_class.get_attributes()  # type: ignore[no-untyped-call]
    return set(inspect.signature(processor_class.__init__).parameters) - {"self", *parts}


def _check_names(given: Iterable[str], allowed: set[str], what: str, suggestions: Iterable[str] = ()) -> None:
    for name in given:
        if name not in allowed:
            close = difflib.get_close_matches(name, [*allowed, *suggestions])
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"Unknown {what} {name!r}.{hint}")


def _image_argument(name: str, kwargs: Mapping[str, Any], default: Any = None) -> Any:
    """Return an argument of the image processor, given to a call by itself or in `images_kwargs`."""
    sources = (kwargs.get("images_kwargs", {}), kwargs)
    return next((source[name] for source in sources if source.get(name) is not None), default)


def _list_of_strings(name: str, value: object) -> list[str]:
    strings = [value] if isinstance(value, str) else _to_list(value)
    if not isinstance(strings, Sequence) or not len(strings) or not all(isinstance(s, str) for s in strings):
        raise ValueError(f"`{name}` must be a string or a list of at least one string, got {value!r}.")
    return list(strings)


def location_token(index: int) -> str:
    """Return the token of a location bin: `<loc_12>`."""
    return f"<loc_{index}>"


def _to_list(ids: object) -> object:
    if isinstance(ids, (torch.Tensor, np.ndarray)):
        return ids.tolist()
    return list(ids) if isinstance(ids, tuple) else ids


def _count_location_tokens(vocabulary: Mapping[str, int]) -> int:
    return next(index for index in itertools.count() if location_token(index) not in vocabulary)


def _count_error(num_images: int, num_texts: int) -> str:
    return (
        f"Got {num_images} image(s) for {num_texts} text(s): give one image for each text, or a list of images for "
        "each text."
    )


def _on_pillow(image_processor: BaseImageProcessor) -> BaseImageProcessor:
    """Replace a torchvision image processor, which AutoImageProcessor prefers, by the Pillow one."""
    on_pillow: dict[str, type[BaseImageProcessor]] = {
        "SiglipImageProcessor": SiglipImageProcessorPil,
        "LlavaOnevisionImageProcessor": LlavaOnevisionImageProcessorPil,
    }
    pillow_class = on_pillow.get(type(image_processor).__name__)
    return image_processor if pillow_class is None else pillow_class.from_dict(image_processor.to_dict())


def _check_image_processor(image_processor: BaseImageProcessor, max_tiles: int | None, num_image_tokens: int) -> None:
    """Refuses an image processor that does not make the pictures, or the tiles, that the model sees."""
    name, cuts_tiles = type(image_processor).__name__, hasattr(image_processor, "image_grid_pinpoints")
    if max_tiles is None:
        if cuts_tiles:
            raise ValueError(f'{name} cuts images into tiles, which goes with `vision_aspect_ratio="anyres_max_<k>"`.')
        return
    size = dict(getattr(image_processor, "size", None) or {})
    pinpoints: list[list[int]] = getattr(image_processor, "image_grid_pinpoints", [])
    patches_per_side = math.isqrt(num_image_tokens)
    if not cuts_tiles or not size.get("height") or size.get("height") != size.get("width"):
        raise ValueError(
            '`vision_aspect_ratio="anyres_max_<k>"` needs an image processor that cuts images into square tiles, such '
            f"as LlavaOnevisionImageProcessorPil, got {name} of size {size}."
        )
    if patches_per_side**2 != num_image_tokens:
        raise ValueError(f"`num_image_tokens` must be the patches of a square tile, got {num_image_tokens}.")
    check_grid_pinpoints(pinpoints, max_tiles, size["height"], patches_per_side)
