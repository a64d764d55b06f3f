# SPDX-License-Identifier: Apache-2.0
"""What files, logs, recipes and names say is shown in a card as it reads, and never is markup of it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from geodit.hub_cards.card.checkpoint_files import read_front_matter
from geodit.hub_cards.card.markdown import Table, as_markdown, code, html_text, image
from geodit.hub_cards.card.model_card import build_model_card, write_model_card
from geodit.hub_cards.card.validation import check_card

LIVE = ("link_open", "image", "html_inline", "html_block", "heading_open")
HOSTILE = [
    "[x](https://evil.example)",
    "![x](https://evil.example/a.png)",
    "<img src=https://evil.example onerror=x>",
    "<https://evil.example>",
    "https://evil.example/a and www.evil.example",
    "a\n\n# Evil\n\nb",
    "a\n---\n",
    "x\n---\nlicense: evil\n---\n# Evil",
    "`` ` [x](https://evil.example) ` ``",
    "```\n\n# Evil\n```",
    "a | [x](https://evil.example) \\| <b> \\",
    "\\`<b>evil</b>\\`",
    "</summary></details><h1>Evil</h1>",
    "\u202e<b>\x1b[31m\x00evil",
    "[evil]: https://evil.example\n\n[evil]",
    "&lt;b&gt; &#60;b&#62; {{ evil }} {% evil %}",
]


def tokens_of(markdown: str) -> list[Any]:
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    return [token for block in tokens for token in (block, *(block.children or []))]


def live(markdown: str) -> list[str]:
    """What of a text is more than text: its markup, and addresses that some renderers make links of."""
    found = [token.type for token in tokens_of(markdown) if token.type in LIVE]
    text = " ".join(token.content for token in tokens_of(markdown) if token.type == "text")
    return found + [address for address in ("://", "www.", "mailto:a") if address in text]


class TestPieces:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_text_is_no_markup_wherever_it_stands(self, text):
        shown = as_markdown(text)
        assert "\n" not in shown
        table = Table((text, "b"), ((text, text), (code(text), "c")), num_left=1)
        for place in (shown, f"* {shown}", f"{shown}\n{shown}", f"a {shown} b", str(table), f"a\n{shown}\n"):
            assert live(place) == []
        rows = [token for token in tokens_of(str(table)) if token.type in ("td_open", "th_open")]
        assert len(rows) == 6  # no text has ended its cell

    @pytest.mark.parametrize("text", HOSTILE)
    def test_text_in_html_and_of_a_picture_is_no_markup_either(self, text):
        assert not {"<", ">", '"', "\n"} & set(html_text(text))
        assert [kind for kind in live(image(as_markdown(text), f"assets/{text}")) if kind != "image"] == []

    @given(st.text(st.sampled_from("ab`[](){}<>!|\\/#-=_*~:.@&\n \t1w"), max_size=24))
    @example("|\\|`")
    @settings(max_examples=60, derandomize=True)
    def test_whatever_the_text(self, text):
        table = str(Table(("a", "b"), ((text, text),), num_left=1))
        assert live(as_markdown(text)) == []
        assert live(table) == []
        assert len([token for token in tokens_of(table) if token.type == "td_open"]) == 2

    @pytest.mark.parametrize(
        "text", ["runs/stage2", "F1@0.5", "mAP@0.5:0.95", "0.1 ± 0.2 (0 to 1)", "N = 8, a_b", "-3"]
    )
    def test_plain_words_stay_plain(self, text):
        assert as_markdown(text) == text


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "geodit-test"))


def results(text: str) -> dict[str, Any]:
    name = text.replace(".", "")
    settings = {"steps": 8, "remasking": text, "temperature": 0.0, "guidance_scale": 1.0}
    spread = {"mean": 0.5, "values": [0.5]}
    return {
        "benchmark": text,
        "split": text,
        "seeds": [0],
        "command": ["geodit", text, "```"],
        "environment": {"torch": text, "geodit": text},
        "cells": [
            {
                "settings": settings,
                "runs": [{"num_images": 1, "figures": {name: {"num_samples": 1}}}],
                "summary": {f"{name}.{name}": spread},
            }
        ],
    }


def fill(folder: Path, text: str) -> None:
    """Has a text wherever a card takes one from."""
    name = "".join(letter for letter in text if letter not in "/\0")[:60]
    (folder / "training").mkdir()
    (folder / "results" / name).mkdir(parents=True)
    (folder / "assets").mkdir()
    recipe = {"num_scenes": 2, "datasets": [text], "model_name_or_path": text, text: text, "vision_tower": text}
    (folder / "training" / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    log = [{"step": step, "loss": 1.0, f"eval_{text}": 0.5, "epoch": 1.0} for step in (1, 2)]
    (folder / "training" / f"{name}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    emissions = f'emissions,energy_consumed,cpu_model\n1,1,"{text.replace(chr(34), "").replace(chr(0), "")}"\n'
    (folder / "training" / "a.emissions.csv").write_text(emissions)
    (folder / "results" / name / "a.json").write_text(json.dumps(results(text)))
    example = dict.fromkeys(("scene", "task", "query", "answer", "truth"), text)
    (folder / "assets" / f"{name}.jpg").write_bytes(b"0")
    examples = [example | {"picture": f"assets/{name}.jpg"}]
    (folder / "assets" / "examples.json").write_text(json.dumps({"examples": examples}))
    (folder / "assembly.json").write_text(json.dumps({"sources": {text: text, "text": text}}))
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["tasks"] |= {
        name: {"prompt": text.replace("{", "{{").replace("}", "}}"), "answer": "text", "max_new_tokens": 4}
    }
    (folder / "processor_config.json").write_text(json.dumps(settings))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        token["content"] = text
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


class TestCard:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_no_field_brings_markup_into_it(self, folder, text):
        fill(folder, text)
        card = build_model_card(folder, model_name=text, tags=[text])
        assert [token for token in live_in(str(card)) if "evil" in token.lower()] == []
        metadata = read_front_matter(str(card), "README.md")
        assert metadata["license"] == "apache-2.0"
        assert metadata["tags"][-1] == text
        assert set(metadata) <= {
            *("license", "language", "library_name", "pipeline_tag", "tags", "base_model", "datasets"),
            *("co2_eq_emissions", "model-index"),
        }
        check_card(card)

    @pytest.mark.parametrize("text", [HOSTILE[0], HOSTILE[7]])
    def test_nor_does_an_adapter(self, tmp_path, text):
        settings = {"peft_type": text, "base_model_name_or_path": text, "revision": text, "target_modules": [text]}
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
        card = build_model_card(tmp_path, model_name=text)
        assert [token for token in live_in(str(card)) if "evil" in token.lower()] == []

    def test_what_is_written_reads_back(self, folder):
        fill(folder, HOSTILE[7])
        first = write_model_card(folder, tags=[HOSTILE[7]]).read_bytes()
        assert write_model_card(folder, tags=[HOSTILE[7]]).read_bytes() == first
        assert read_front_matter(first.decode(), "README.md")["tags"][-1] == HOSTILE[7]


def live_in(card: str) -> list[str]:
    """The links, pictures, HTML and titles of a card, each with its text and where it leads."""
    body = card.split("\n---\n", 1)[1] if card.startswith("---\n") else card
    found = []
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    for number, block in enumerate(tokens):
        if block.type == "heading_open":
            inside = tokens[number + 1].children or []
            found.append(" ".join(token.content for token in inside if token.type == "text"))
        if block.type == "html_block":
            found += re.findall("<[^>]*>", block.content)  # the rest is text
        for token in block.children or []:
            if token.type == "html_inline":
                found.append(token.content)
            if token.type in ("link_open", "image"):
                address = str(token.attrs.get("href", token.attrs.get("src")))
                found.append("" if address.startswith("assets/") else address)
            if token.type == "text" and any(sign in token.content for sign in ("://", "www.")):
                found.append(token.content)
    return found
