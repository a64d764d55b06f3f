# SPDX-License-Identifier: Apache-2.0
"""Suites: the data sets of the paper that belong together, with the figures that the paper states for them.

The paper does not say how its figures were computed. What it states is therefore shown beside what is measured here,
and never compared without the name of a protocol.

Source: GeoDiT: A Diffusion-based Vision-Language Model for Geospatial Understanding, arXiv 2512.02505.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["SUITES", "Ablation", "Suite", "SuiteEntry", "get_suite"]


@dataclass(frozen=True)
class SuiteEntry:
    """A data set of a suite.

    Args:
        dataset: Its name among the readers of `geodit.data.readers`, which is also the name of its folder.
        split: The split that is reported.
        tasks: The tasks that are asked.
        published: Figures of the paper by their flat names, such as `"caption.cider"`, as it prints them.
        note: What is to be known about the published figures.
        answer_rules: Rules that its questions have beside ours, see
            [`~geodit.evaluation.answer_rules.ANSWER_RULES`].
    """

    dataset: str
    split: str
    tasks: tuple[str, ...]
    published: Mapping[str, float] = field(default_factory=dict)
    answer_rules: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Ablation:
    """Decoding settings that the paper compares.

    Args:
        name: What they are called.
        changes: Fields of [`~geodit.configuration.decoding_options.DecodingOptions`] that they set.
        published: As for [`SuiteEntry`], by data set.
    """

    name: str
    changes: Mapping[str, object]
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """Data sets that are evaluated together.

    Args:
        name: How it is called.
        description: One line about it.
        entries: Its data sets.
        ablations: Settings that all of them are evaluated with; by default the paper's own alone.
    """

    name: str
    description: str
    entries: tuple[SuiteEntry, ...]
    ablations: tuple[Ablation, ...] = ()


# The summary has 18.7 for detection on RSVG, too, whose files give no classes.
_SECOND_HAND = "the paper's figure is from a published summary of its Table 3, which the other data sets agree with"
_CAPTIONING = (
    SuiteEntry("rsicd", "test", ("caption",), {"caption.cider": 135.6}),
    SuiteEntry("sydney-captions", "test", ("caption",), {"caption.cider": 128.3}),
    SuiteEntry("ucm-captions", "test", ("caption",), {"caption.cider": 73.8}),
    SuiteEntry("nwpu-captions", "test", ("caption",), {"caption.cider": 77.4}),
)
_GROUNDING = (
    SuiteEntry("dior-rsvg", "test", ("ground",), {"ground.accuracy": 60.4}),
    SuiteEntry("vrsbench", "test", ("ground",), {"ground.accuracy": 63.7}),
    SuiteEntry("rsvg", "test", ("ground",), {"ground.accuracy": 43.2}),
    SuiteEntry("avvg", "test", ("ground",), {"ground.accuracy": 21.7}, note=_SECOND_HAND),
)
_DETECTION = (
    SuiteEntry("dior-rsvg", "test", ("detect",), {"detect.map50": 20.8}),
    SuiteEntry("vrsbench", "test", ("detect",), {"detect.map50": 24.9}),
    SuiteEntry("avvg", "test", ("detect",), {"detect.map50": 11.4}, note=_SECOND_HAND),
)
_VQA = (
    SuiteEntry("rsvqa-lr", "test", ("vqa",), {"vqa.rural_urban.accuracy": 98.1}, ("rsvqa_lr",)),
    SuiteEntry("rsvqa-hr", "test", ("vqa",), {"vqa.compare.accuracy": 80.6}, ("rsvqa_hr",)),
)
_CLASSIFICATION = (
    SuiteEntry("aid", "test", ("classify",), {"classify.accuracy": 81.2}),
    SuiteEntry("whu-rs19", "test", ("classify",), {"classify.accuracy": 95.0}),
)
_STEPS = {1: 65.8, 2: 105.1, 4: 127.3, 8: 135.6, 16: 136.2}
_ABLATIONS = (
    # First what the others are compared with.
    *(
        Ablation(
            f"N = {steps}",
            {"max_denoising_steps": steps, "remasking": "low_confidence"},
            {
                "rsicd": {"caption.cider": _STEPS[steps]},
                **({"dior-rsvg": _DETECTION[0].published} if steps == 8 else {}),
            },
        )
        for steps in (8, 1, 2, 4, 16)
    ),
    Ablation(
        "random remasking",
        {"max_denoising_steps": 8, "remasking": "random"},
        {"rsicd": {"caption.cider": 121.8}, "dior-rsvg": {"detect.map50": 15.5}},
    ),
)

SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite("captioning", "captions of RSICD, Sydney, UCM and NWPU", _CAPTIONING),
            Suite("grounding", "referring expressions of DIOR-RSVG, VRSBench, RSVG and AVVG", _GROUNDING),
            Suite("detection", "objects of DIOR-RSVG, VRSBench and AVVG", _DETECTION),
            Suite("vqa", "questions of RSVQA at low and high resolution", _VQA),
            Suite("classification", "scenes of AID and WHU-RS19", _CLASSIFICATION),
            Suite(
                "paper",
                "all data sets of the paper",
                (*_CAPTIONING, *_GROUNDING, *_DETECTION, *_VQA, *_CLASSIFICATION),
            ),
            Suite(
                "ablations",
                "remasking, and the number of denoising steps",
                (_CAPTIONING[0], _DETECTION[0]),
                _ABLATIONS,
            ),
        )
    }
)
"""The suites by name."""


def get_suite(name: str) -> Suite:
    """Look a suite up.

    Raises:
        ValueError: If there is none of that name; the message lists those there are.
    """
    if name not in SUITES:
        raise ValueError(f"unknown suite {name!r}; the suites are {', '.join(SUITES)}")
    return SUITES[name]
