# SPDX-License-Identifier: Apache-2.0
"""From images and prompts to texts: one class for each way in which the models of others are run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from transformers import BatchFeature, GenerationConfig, PreTrainedTokenizerBase, ProcessorMixin

from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.other_models.families import Family, Prompt

if TYPE_CHECKING:
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["ChatMethodGenerator", "GeneratedText", "Generator", "GeoDiTGenerator", "TransformersGenerator"]

# What InternVL's code normalizes with.
_IMAGENET_MEAN = [0.485, 0.456, 0.406]
_IMAGENET_STD = [0.229, 0.224, 0.225]


@dataclass(frozen=True)
class GeneratedText:
    """What a model wrote.

    Args:
        text: The answer.
        num_tokens: How many tokens were generated, with the one that ends the answer.
        forward_passes: How many times the network was run for it; for a model that writes token by token, once for
            each.
        seen_size: Height and width in pixels to which the processor resized the image, where boxes are in them.
    """

    text: str
    num_tokens: int
    forward_passes: int
    seen_size: tuple[int, int] | None = None


class Generator(ABC):
    """Answers prompts about images, always with the most probable token.

    Args:
        family: How the model is asked.
        model: The model, on its device.
    """

    def __init__(self, family: Family, model: Any) -> None:
        self.family = family
        self.model = model.train(False)

    @abstractmethod
    def generate(
        self, images: Sequence[Image.Image], prompts: Sequence[Prompt], max_new_tokens: int
    ) -> list[GeneratedText]:
        """Answer a prompt about each of some images.

        Args:
            images: The images, in RGB.
            prompts: One for each.
            max_new_tokens: How many tokens an answer may have.
        """

    def prepare(self, image: Image.Image) -> Image.Image:
        """Return the image that the model's processor gets."""
        return pad_to_square(image, self.background) if self.family.pads_to_square else image

    @property
    def background(self) -> tuple[int, int, int]:
        """The color of padding."""
        return 0, 0, 0


class TransformersGenerator(Generator):
    """A model and a processor of Transformers.

    Args:
        family: How the model is asked.
        model: The model, on its device.
        processor: Its processor. Its tokenizer is set to pad on the side that the model needs.
    """

    def __init__(self, family: Family, model: Any, processor: ProcessorMixin) -> None:
        super().__init__(family, model)
        self.processor = processor
        self.is_encoder_decoder = bool(getattr(model.config, "is_encoder_decoder", False))
        tokenizer: Any = processor.tokenizer
        tokenizer.padding_side = "right" if self.is_encoder_decoder else "left"
        self._end_ids = _as_ids(model.generation_config.eos_token_id) or _as_ids(tokenizer.eos_token_id)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._unwritten = {*self._end_ids, *_as_ids(tokenizer.pad_token_id), *_as_ids(tokenizer.bos_token_id)}

    @property
    def background(self) -> tuple[int, int, int]:
        """The mean color that the image processor subtracts."""
        red, green, blue = (round(255 * value) for value in self.processor.image_processor.image_mean)
        return red, green, blue

    def generate(
        self, images: Sequence[Image.Image], prompts: Sequence[Prompt], max_new_tokens: int
    ) -> list[GeneratedText]:
        """Answer prompts as one batch; see `Generator.generate`."""
        processor: Any = self.processor
        inputs: BatchFeature = processor(
            images=[self.prepare(image) for image in images],
            text=[self.render(prompt) for prompt in prompts],
            padding=True,
            return_tensors="pt",
        )
        sizes = self._seen_sizes(inputs, len(images))
        inputs = inputs.to(self.model.device, dtype=self.model.dtype)
        with torch.inference_mode():
            ids = self.model.generate(**inputs, generation_config=self._settings(max_new_tokens))
        start = 1 if self.is_encoder_decoder else inputs["input_ids"].shape[1]
        return [self._read(row, size) for row, size in zip(ids[:, start:].tolist(), sizes, strict=True)]

    def render(self, prompt: Prompt) -> str:
        """Return the text that the processor gets for a prompt."""
        if self.family.task_prompts:
            return prompt.text
        if getattr(self.processor, "chat_template", None) is None:
            if self.family.layout is None:
                raise ValueError(
                    f"the processor has no chat template, and none is known for the family {self.family.name!r}; "
                    "name the family that the model belongs to"
                )
            token = str(getattr(self.processor, "image_token", "<image>"))
            return self.family.layout.replace("{image}", token).replace("{prompt}", prompt.text)
        parts = [{"type": "text", "text": prompt.before}, {"type": "image"}, {"type": "text", "text": prompt.text}]
        messages: list[JsonObject] = []
        if prompt.system is not None:
            messages.append({"role": "system", "content": [{"type": "text", "text": prompt.system}]})
        messages.append({"role": "user", "content": [part for part in parts if part.get("text") != ""]})
        return str(self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _settings(self, max_new_tokens: int) -> GenerationConfig:
        """Return the model's own settings, without sampling and beams."""
        if self.is_encoder_decoder:  # which has a place for so many tokens, and no more
            max_new_tokens = min(max_new_tokens, self.model.config.get_text_config().max_position_embeddings - 1)
        changes = {"max_new_tokens": max_new_tokens, "do_sample": False, "num_beams": 1, "early_stopping": False}
        unused = dict.fromkeys(("temperature", "top_p", "top_k", "min_p", "typical_p", "length_penalty", "max_length"))
        settings = GenerationConfig.from_dict({**self.model.generation_config.to_dict(), **changes, **unused})
        if settings.eos_token_id is None:
            settings.eos_token_id = self._end_ids or None
        if settings.pad_token_id is None:
            tokenizer: Any = self.processor.tokenizer
            settings.pad_token_id = tokenizer.pad_token_id
        return settings

    def _seen_sizes(self, inputs: BatchFeature, count: int) -> list[tuple[int, int] | None]:
        grids = inputs.get("image_grid_thw")
        if grids is None:
            return [None] * count
        side = self.processor.image_processor.patch_size
        return [(int(rows) * side, int(columns) * side) for _, rows, columns in grids.tolist()]

    def _read(self, ids: list[int], seen_size: tuple[int, int] | None) -> GeneratedText:
        end = next((place for place, index in enumerate(ids) if index in self._end_ids), None)
        count = len(ids) if end is None else end + 1
        written = [index for index in ids[:count] if index not in self._unwritten]
        tokenizer: Any = self.processor.tokenizer
        text = tokenizer.decode(
            written,
            skip_special_tokens=not self.family.keeps_special_tokens,
            clean_up_tokenization_spaces=False,
        )
        return GeneratedText(text.strip(), count, count, seen_size)


class ChatMethodGenerator(Generator):
    """A model whose own code has a method `chat`, as InternVL's and EarthDial's: one image at a time.

    The image is cut into tiles as their code does it, with a small version of the whole as the last one. Tokens are
    counted by tokenizing the answer, since `chat` returns its text only.

    Args:
        family: How the model is asked.
        model: The model, on its device.
        tokenizer: Its tokenizer.

    Raises:
        ValueError: If the model has no method `chat`.
    """

    def __init__(self, family: Family, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(family, model)
        if not callable(getattr(model, "chat", None)):
            raise ValueError(f"{type(model).__name__} has no method `chat`, by which its own code would be asked")
        self.tokenizer = tokenizer
        self._images = self._image_processor(model.config)

    @staticmethod
    def _image_processor(config: Any) -> GotOcr2ImageProcessorPil:
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

        side = getattr(config, "force_image_size", None) or config.vision_config.image_size
        return GotOcr2ImageProcessorPil(
            size={"height": side, "width": side},
            crop_to_patches=bool(getattr(config, "dynamic_image_size", True)),
            min_patches=int(getattr(config, "min_dynamic_patch", 1)),
            max_patches=int(getattr(config, "max_dynamic_patch", 12)),
            image_mean=_IMAGENET_MEAN,
            image_std=_IMAGENET_STD,
        )

    def generate(
        self, images: Sequence[Image.Image], prompts: Sequence[Prompt], max_new_tokens: int
    ) -> list[GeneratedText]:
        """Answer one prompt after another; see `Generator.generate`."""
        answers = []
        for image, prompt in zip(images, prompts, strict=True):
            pixels = self._images(self.prepare(image), return_tensors="pt")["pixel_values"]
            image_mark = f"{prompt.before}<image>" if prompt.before else "<image>\n"
            with torch.inference_mode():
                text = self.model.chat(
                    self.tokenizer,
                    pixels.to(self.model.device, dtype=self.model.dtype),
                    image_mark + prompt.text,
                    {"max_new_tokens": max_new_tokens, "do_sample": False},
                )
            count = len(self.tokenizer(str(text), add_special_tokens=False)["input_ids"]) + 1
            answers.append(GeneratedText(str(text).strip(), count, count))
        return answers


class GeoDiTGenerator(Generator):
    """A checkpoint of GeoDiT asked by another family's prompts, as one that was made of LLaDA-V.

    Answers are denoised on a canvas of `max_new_tokens`, in as many steps and in blocks of 32, as LLaDA-V does it;
    what stands behind the end of an answer takes no steps.

    Args:
        family: How the model is asked.
        model: The model, on its device.
        processor: Its processor.
        max_denoising_steps: Number of steps; by default one for each token of the canvas.
    """

    def __init__(
        self,
        family: Family,
        model: GeoDiTForMaskedDiffusion,
        processor: GeoDiTProcessor,
        max_denoising_steps: int | None = None,
    ) -> None:
        super().__init__(family, model)
        self.processor = processor
        self.max_denoising_steps = max_denoising_steps

    def generate(
        self, images: Sequence[Image.Image], prompts: Sequence[Prompt], max_new_tokens: int
    ) -> list[GeneratedText]:
        """Answer prompts as one batch; see `Generator.generate`."""
        texts = []
        for prompt in prompts:
            content = [{"type": "image"}, {"type": "text", "text": prompt.text}]
            message: JsonObject = {"role": "user", "content": content}
            texts.append(str(self.processor.apply_chat_template([message], add_generation_prompt=True)))
        inputs = self.processor(images=[[self.prepare(image)] for image in images], text=texts, return_tensors="pt")
        found = self.model.generate_many(
            [dict(inputs)],
            max_new_tokens=max_new_tokens,
            max_denoising_steps=self.max_denoising_steps or max_new_tokens,
            block_length=min(32, max_new_tokens),
            fill_after_eos=True,
        )
        answers = sorted(found, key=lambda answer: answer.index)
        read = [str(self.processor.decode_canvas(answer.canvas)) for answer in answers]
        return [
            GeneratedText(text.strip(), max_new_tokens, answer.steps_made)
            for text, answer in zip(read, answers, strict=True)
        ]


def pad_to_square(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Pad the shorter side of an image at both ends, with the image in the middle.

    Args:
        image: The image.
        background: Color of what is added.
    """
    if image.width == image.height:
        return image
    side = max(image.size)
    square = Image.new(image.mode, (side, side), background)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _as_ids(value: object) -> list[int]:
    """Return token ids, of which a configuration has none, one or several."""
    if isinstance(value, int):
        return [value]
    return [int(one) for one in value] if isinstance(value, (list, tuple)) else []
