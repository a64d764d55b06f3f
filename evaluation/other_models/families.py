# SPDX-License-Identifier: Apache-2.0
"""Families of models: how each is asked, and how it writes boxes.

The wording of a prompt and the notation of boxes are part of a model: it was trained with them. They are those of the
project's own public code or model card, named in `Family.source`. What a project does not say, we worded; those tasks
are in `Family.ours`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import TASKS, Question
from geodit.evaluation.other_models.notations import BoxNotation, get_notation

__all__ = ["FAMILIES", "GENERIC_FAMILY", "Family", "Prompt", "find_family", "get_family"]

DEFAULT_MAX_NEW_TOKENS: Mapping[str, int] = MappingProxyType(
    {"caption": 128, "ground": 128, "detect": 1024, "vqa": 32, "classify": 32}
)
"""How many tokens an answer may have, by task; a box in JSON has about 40."""

_SHORT = "Answer the question using a single word or phrase."
_VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: {image}\n{prompt} ASSISTANT:"
)


@dataclass(frozen=True)
class Prompt:
    """What a model is told.

    Args:
        text: The user's turn after the image.
        system: The system's turn, if there is one.
        before: The user's turn before the image.
    """

    text: str
    system: str | None = None
    before: str = ""


@dataclass(frozen=True)
class Family:
    """Models that are asked alike.

    Args:
        name: Name of the family.
        description: The models of the family.
        source: Where prompts and notation are from.
        prompts: The prompt of each task, with `{query}` for what is asked, and before it `{image}` where the image
            does not come first.
        classify_among: The prompt of `classify` where the classes are known, with `{classes}`.
        notation: How boxes are written.
        model_types: Values of `model_type` in `config.json` by which the family is found.
        names: Parts of a model's name by which the family is found, for models whose `model_type` is another's.
        ours: The tasks whose prompts are worded by us.
        systems: The system's turn by task.
        pads_to_square: Whether the image is padded to a square before the model's processor gets it.
        layout: The text around a prompt, with `{image}` and `{prompt}`, for models without a chat template.
        task_prompts: Whether the processor makes a prompt of a task token, without a chat.
        keeps_special_tokens: Whether special tokens are part of an answer, such as those of boxes.
    """

    name: str
    description: str
    source: str
    prompts: Mapping[str, str]
    classify_among: str
    notation: BoxNotation
    model_types: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    ours: frozenset[str] = frozenset()
    systems: Mapping[str, str] = field(default_factory=dict)
    pads_to_square: bool = False
    layout: str | None = None
    task_prompts: bool = False
    keeps_special_tokens: bool = False

    def __post_init__(self) -> None:
        if set(self.prompts) != set(TASKS):
            raise ValueError(f"the family {self.name!r} needs a prompt for each of the tasks {', '.join(TASKS)}")

    def prompt(self, question: Question, classes: Sequence[str] | None = None) -> Prompt:
        """Word a question.

        Args:
            question: The question.
            classes: The classes among which to choose, for `classify`; by default the model is told none.
        """
        template, place, filling = self.prompts[question.task], "{query}", question.query.strip()
        if question.task == "classify" and classes:
            template, place, filling = self.classify_among, "{classes}", ", ".join(classes)
        before, _, after = template.rpartition("{image}")
        return Prompt(after.replace(place, filling), self.systems.get(question.task), before)


_CAPTION = "Describe the image in one sentence."
_CLASSIFY = "What kind of scene does the image show? Answer with its name only."
_CLASSIFY_AMONG = "Classify the image as one of these classes: {classes}. Answer with the name of the class only."
_LLAVA_BOX = "Please provide the bounding box coordinate of the region this sentence describes: "

_LLAVA = {
    "caption": _CAPTION,
    "ground": _LLAVA_BOX + "{query}",
    "detect": "Please provide the bounding box coordinates of all objects of this class: {query}",
    "vqa": "{query}\n" + _SHORT,
    "classify": _CLASSIFY,
}
_QWEN = {
    "caption": _CAPTION,
    "ground": "Locate {query}, output its bbox coordinates using JSON format.",
    "detect": "Locate every {query} in the image, output the bbox coordinates in JSON format.",
    "vqa": "{query}\n" + _SHORT,
    "classify": _CLASSIFY,
}

FAMILIES: tuple[Family, ...] = (
    Family(
        "qwen2_5_vl",
        "Qwen2.5-VL: absolute pixels of the resized image, in JSON",
        "cookbooks/spatial_understanding.ipynb of github.com/QwenLM/Qwen2.5-VL",
        _QWEN,
        _CLASSIFY_AMONG,
        get_notation("json_pixels"),
        model_types=("qwen2_5_vl",),
        ours=frozenset({"caption", "vqa", "classify"}),
    ),
    Family(
        "qwen3_vl",
        "Qwen3-VL: 0 to 1000, in JSON",
        "cookbooks of github.com/QwenLM/Qwen3-VL",
        _QWEN,
        _CLASSIFY_AMONG,
        get_notation("json_1000"),
        model_types=("qwen3_vl", "qwen3_vl_moe"),
        ours=frozenset({"caption", "vqa", "classify"}),
    ),
    Family(
        "rscovlm",
        "RSCoVLM, a Qwen2.5-VL: lines of pixels of the resized image",
        "rscovlm/eval/data/ of github.com/VisionXLab/RSCoVLM, with its default prompts (plain)",
        {
            "caption": _CAPTION,
            "ground": "find the {query}",
            "detect": "find the {query}.",
            "vqa": "{query} Answer the question using a single word or a short phrase.",
            "classify": _CLASSIFY,
        },
        "Classify the image within one of the given classes:{classes}.",
        get_notation("pixel_lines"),
        names=("rscovlm",),
        ours=frozenset({"caption", "classify"}),
        systems={
            "ground": "As an AI assistant, you specialize in accurate image object detection, delivering coordinates "
            "in plain text format 'x1,y1,x2,y2 object'.",
            "detect": "As an AI assistant, you specialize in accurate oriented object detection, delivering "
            "coordinates of the polygon vertices in plain text format 'x1,y1,x2,y2,x3,y3,x4,y4 object'.",
        },
    ),
    Family(
        "internvl",
        "InternVL in the layout of Transformers (model_type internvl), and with its own code (internvl_chat)",
        "internvl_chat/eval/refcoco/evaluate_grounding.py of github.com/OpenGVLab/InternVL",
        {
            **_LLAVA,
            "ground": _LLAVA_BOX + "<ref>{query}</ref>",
            "detect": "Please provide the bounding box coordinates of all objects of this class: <ref>{query}</ref>",
        },
        _CLASSIFY_AMONG,
        get_notation("internvl"),
        model_types=("internvl", "internvl_chat"),
        ours=frozenset({"caption", "detect", "classify"}),
    ),
    Family(
        "earthdial",
        "EarthDial, an InternVL with its own code: 0 to 100 with an angle",
        "src/earthdial/eval/ of github.com/hiyamdebary/EarthDial, with the prompts of its stored answers",
        {
            "caption": "[caption] [hr_rgb_0.5] {image}\n Could you please provide the caption for the input image?",
            "ground": "[refer] [hr_rgb_0.5] {image}\n Give me the location of <ref>{query}</ref>",
            "detect": "[refer] [hr_rgb_0.5] {image}\n Give me the location of <ref>{query}</ref>",
            "vqa": "[hr_rgb_0.5] {image}\n {query} Answer the question using a single word.",
            "classify": "[hr_rgb_0.5] {image}\n " + _CLASSIFY,
        },
        "Classify the given image in one of the following classes. Classes: {classes}. ",
        get_notation("earthdial"),
        names=("earthdial",),
        ours=frozenset({"detect", "classify"}),
    ),
    Family(
        "florence2",
        "Florence-2: location tokens, 0 to 999",
        "the model card of huggingface.co/microsoft/Florence-2-large; Florence2Processor of Transformers",
        {
            "caption": "<CAPTION>",
            "ground": "<CAPTION_TO_PHRASE_GROUNDING>{query}",
            "detect": "<OPEN_VOCABULARY_DETECTION>{query}",
            "vqa": "{query}",
            "classify": _CLASSIFY,
        },
        _CLASSIFY_AMONG,
        get_notation("florence2"),
        model_types=("florence2",),
        ours=frozenset({"vqa", "classify"}),
        task_prompts=True,
        keeps_special_tokens=True,
    ),
    Family(
        "geochat",
        "GeoChat, a LLaVA-1.5: 0 to 100 with an angle",
        "geochat/eval/ and geochat_demo.py of github.com/mbzuai-oryx/GeoChat",
        {
            "caption": _CAPTION,
            "ground": "[refer] Give me the location of <p> {query} </p>",
            "detect": "[refer] Give me the location of <p> {query} </p>",
            "vqa": "{query}\n" + _SHORT,
            "classify": _CLASSIFY,
        },
        _CLASSIFY_AMONG,
        get_notation("geochat"),
        model_types=("geochat",),
        names=("geochat",),
        ours=frozenset({"caption", "detect", "vqa", "classify"}),
        layout=_VICUNA,
    ),
    Family(
        "vhm",
        "VHM, a LLaVA-1.5: 0 to 1000",
        "model_eval_mp.py and vhm_model.py of github.com/fitzpchao/RSEvalKit: the tags, the padding and the scale",
        {
            "caption": "{IT} Please describe the remote sensing image.",
            "ground": "{VG} " + _LLAVA_BOX + "{query}",
            "detect": "{VG} Please provide the bounding box coordinates of all objects of this class: {query}",
            "vqa": "{VQA} {query}\n" + _SHORT,
            "classify": "{CLS} " + _CLASSIFY,
        },
        "{CLS} " + _CLASSIFY_AMONG,
        get_notation("integers_1000"),
        model_types=("vhm",),
        names=("vhm",),
        ours=frozenset({"ground", "detect", "vqa", "classify"}),
        pads_to_square=True,
        layout=_VICUNA,
    ),
    Family(
        "llada_v",
        "LLaDA-V, loaded as a GeoDiT: 0 to 1 on the image padded to a square",
        "train/llava/ of github.com/ML-GSAI/LLaDA-V, which is trained on the data of LLaVA; no notation is documented",
        _LLAVA,
        _CLASSIFY_AMONG,
        get_notation("padded_square"),
        model_types=("llada", "llava_llada"),
        names=("llada-v", "llada_v"),
        ours=frozenset({"caption", "detect", "classify"}),
    ),
    Family(
        "llava",
        "LLaVA-1.5: 0 to 1 on the image padded to a square",
        "llava/mm_utils.py of github.com/haotian-liu/LLaVA, and its issue 606 on boxes",
        _LLAVA,
        _CLASSIFY_AMONG,
        get_notation("padded_square"),
        model_types=("llava", "llava_llama"),
        ours=frozenset({"caption", "detect", "classify"}),
        pads_to_square=True,
        layout=_VICUNA,
    ),
)
"""The families that are known; of several that fit, the first counts."""

GENERIC_FAMILY = Family(
    "generic",
    "any other model with a chat template: asked for JSON with 0 to 1000",
    "ours",
    {
        "caption": _CAPTION,
        "ground": "Locate {query}. Answer with JSON only: "
        '[{"bbox_2d": [x1, y1, x2, y2], "label": "..."}], where x and y are integers from 0 to 1000 relative to the '
        "width and the height of the image.",
        "detect": "Locate every {query} in the image. Answer with JSON only: "
        '[{"bbox_2d": [x1, y1, x2, y2], "label": "..."}], where x and y are integers from 0 to 1000 relative to the '
        "width and the height of the image. If there is none, answer [].",
        "vqa": "{query}\n" + _SHORT,
        "classify": _CLASSIFY,
    },
    _CLASSIFY_AMONG,
    get_notation("json_1000"),
    ours=frozenset(TASKS),
)
"""What a model of an unknown family is asked with."""


def get_family(name: str) -> Family:
    """Return the family of that name.

    Raises:
        ValueError: If there is none; the message lists those there are.
    """
    families = (*FAMILIES, GENERIC_FAMILY)
    for family in families:
        if family.name == name:
            return family
    raise ValueError(f"unknown family of models {name!r}; the families are {', '.join(one.name for one in families)}")


def find_family(model_name: str, config: JsonObject) -> Family:
    """Find the family of a model: by its own name, else by its type, else the generic one.

    Args:
        model_name: Directory or Hub id; of its last part, a family's name counts, as in `Qingyun/RSCoVLM`.
        config: What is in its `config.json`.
    """
    own_name = re.split(r"[/\\]", model_name.rstrip("/\\"))[-1].lower()
    for family in FAMILIES:
        if any(name in own_name for name in family.names):
            return family
    for family in FAMILIES:
        if config.get("model_type") in family.model_types:
            return family
    return GENERIC_FAMILY
