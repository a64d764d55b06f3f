# SPDX-License-Identifier: Apache-2.0
"""The card of the bundled checkpoint: up to date, without an empty section, and every number read from a file."""

import datetime
import json
import math
import re
import statistics
from pathlib import Path

import pytest
import scipy.stats
import yaml
from huggingface_hub import ModelCard, metadata_load
from safetensors.torch import load_file

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.hub_cards.card.examples import read_examples
from geodit.hub_cards.card.model_card import build_model_card
from geodit.hub_cards.card.training_history import read_stages
from geodit.hub_cards.card.training_plots import training_plot
from geodit.weights.bundled import bundled_checkpoint

pytest.importorskip("matplotlib")

FOLDER = Path(bundled_checkpoint())
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")

# The numbers in the prose of the template. None of them is a figure of the checkpoint.
PROSE = {
    "identifiers of NEON's data product and of a paper": {"3", "30010", "001", "2021"},
    "pixels of the tree crowns": {"10"},
    "bits of a band": {"8"},
    "level of the intervals": {"95"},
    "how tables and lists count": {"0", "1", "2"},
    "names of metrics and licences": {"4", "2.0", "0.95"},
    "the citation": {"2026", "2512.02505"},
    "the example of a box": {"24", "12", "48", "60"},
}


def numbers_in(value):
    """All numbers of a JSON or YAML document, also those in its texts."""
    if isinstance(value, dict):
        return {number for item in value.values() for number in numbers_in(item)} | numbers_in(list(value))
    if isinstance(value, list):
        return {number for item in value for number in numbers_in(item)}
    if isinstance(value, str):
        return {float(number) for number in re.findall(r"\d+(?:\.\d+)?", value)}
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def recorded():
    """Every number in the files."""
    numbers = set()
    for path in FOLDER.rglob("*.json"):
        numbers |= numbers_in(json.loads(path.read_text()))
    for path in FOLDER.rglob("*.yaml"):
        numbers |= numbers_in(yaml.safe_load(path.read_text()))
    for path in FOLDER.rglob("*.jsonl"):
        numbers |= {n for line in path.read_text().splitlines() for n in numbers_in(json.loads(line))}
    return numbers


def computed():
    """What the card is to compute of them: parameters, image tokens, rooms for boxes, means and intervals."""
    sizes = {"vision_tower": 0, "multi_modal_projector": 0, "language_model": 0}
    for name, tensor in load_file(FOLDER / "model.safetensors").items():
        sizes["language_model" if name == "lm_head.weight" else name.split(".")[1]] += tensor.numel()
    numbers = {*sizes.values(), sum(sizes.values()), GeoDiTConfig.from_pretrained(FOLDER).num_image_tokens}
    processor = json.loads((FOLDER / "processor_config.json").read_text())
    numbers |= {task["max_new_tokens"] // 4 for task in processor["tasks"].values()}
    numbers |= {math.floor(n / 96 * processor["location_bins"]) for n in (24, 12, 48, 60)}
    for path in (FOLDER / "results").rglob("*.json"):
        document = json.loads(path.read_text())
        for cell in document["cells"]:
            for spread in cell["summary"].values():
                values = spread["values"]
                if document["dataset_seeds"] is not None and statistics.stdev(values):
                    error = scipy.stats.sem(values)
                    ends = scipy.stats.t.interval(0.95, len(values) - 1, loc=statistics.fmean(values), scale=error)
                    numbers |= {max(ends[0], 0.0), ends[1], min(ends[1], 1.0)}
    return numbers


def times():
    """Wall-clock times of the stages, and of all."""
    last_lines = [path.read_text().splitlines()[-1] for path in (FOLDER / "training").glob("*.jsonl")]
    seconds = [json.loads(line)["train_runtime"] for line in last_lines]
    return {str(datetime.timedelta(seconds=round(time))) for time in (*seconds, sum(seconds))}


def forms(number):
    """How a card may write a number."""
    written = {f"{number:.3f}", f"{number:.4g}", str(round(number, 4)), str(number), f"{number:g}"}
    if float(number).is_integer():
        written |= {str(int(number)), f"{int(number):,}"}
    return written


def test_every_number_is_read_from_a_file():
    allowed = {form for number in recorded() | computed() for form in forms(number)}
    allowed |= times() | {number for group in PROSE.values() for number in group}
    # Words such as stage2, F1 and SHA-256 have digits and are no numbers.
    number = r"\d+:\d\d:\d\d|(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e-?\d+)?"
    found = re.findall(rf"(?<![\w.])(?:{number})(?!\w)", CARD)
    assert len(found) > 900
    assert [number for number in found if number not in allowed] == []


def test_a_number_that_nobody_measured_would_be_found():
    allowed = {form for number in recorded() | computed() for form in forms(number)}
    assert "0.9123" not in allowed
    assert "0.882" in allowed  # mean accuracy of grounding


def test_the_card_is_that_of_the_files():
    assert build_model_card(FOLDER).content == CARD
    assert (FOLDER / "assets" / "training.png").is_file()
    assert training_plot(read_stages(FOLDER))


def test_no_section_is_empty():
    sections = re.split(r"^(#+ .*)$", ModelCard(CARD).text, flags=re.MULTILINE)[1:]
    titles, bodies = sections[::2], sections[1::2]
    assert len(titles) > 10
    for index, (title, body) in enumerate(zip(titles, bodies, strict=True)):
        has_subsection = index + 1 < len(titles) and titles[index + 1].count("#") > title.count("#")
        assert body.strip() or has_subsection, title
    for rows in re.findall(r"(?:^\|.*\n)+", CARD, flags=re.MULTILINE):
        assert rows.count("\n") >= 3  # a header, a rule and something below


def test_the_card_is_tidy():
    assert "\n\n\n" not in CARD
    assert not re.search(r"[ \t]+$", CARD, flags=re.MULTILINE)
    assert not re.search(r"\{\{|\{%|\bNone\b|\bUndefined\b|/home/|/root/|/tmp/", CARD)


def test_every_picture_is_there():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", CARD)
    assert len(pictures) == 4
    assert all((FOLDER / picture).is_file() for picture in pictures)
    assert len(read_examples(FOLDER)) == 15


def test_the_front_matter_is_what_the_hub_reads():
    metadata = metadata_load(FOLDER / "README.md")
    assert metadata["license"] == "apache-2.0"
    assert metadata["pipeline_tag"] == "image-text-to-text"
    figures = [metric for entry in metadata["model-index"][0]["results"] for metric in entry["metrics"]]
    assert all(math.isfinite(metric["value"]) for metric in figures)
    assert all("confidence_interval_95" in metric["args"] or metric["args"]["std"] == 0 for metric in figures)
