# SPDX-License-Identifier: Apache-2.0
"""The card of a checkpoint says what its files say, and leaves out what they do not."""

import datetime
import hashlib
import json
import re
import socket

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file

from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.hub_cards.card.model_card import build_model_card, write_model_card


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("something tried to open a network connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def card(documented):
    return build_model_card(documented)


def headings(card):
    return re.findall(r"^##+ (.*)$", card.text, flags=re.MULTILINE)


def tables(card):
    """Each table as its rule (`---` or `---:` for each column), header and rows."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", card.text, flags=re.MULTILINE):
        header, rule, *rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
            for line in block.strip().splitlines()
        ]
        found.append((rule, header, rows))
    return found


def table(card, first_title):
    (found,) = [(header, rows) for _, header, rows in tables(card) if header[0] == first_title]
    return found


def numbers_in(value):
    """All numbers of a JSON or YAML document."""
    if isinstance(value, dict):
        return {number for item in value.values() for number in numbers_in(item)}
    if isinstance(value, list):
        return {number for item in value for number in numbers_in(item)}
    return {value} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def numbers_of_folder(folder):
    """All numbers in the files, and what the card is to compute of them: sums of parameters and durations."""
    numbers = set()
    for path in folder.rglob("*.json"):
        numbers |= numbers_in(json.loads(path.read_text()))
    for path in folder.rglob("*.yaml"):
        numbers |= numbers_in(yaml.safe_load(path.read_text()))
    for path in folder.rglob("*.jsonl"):
        numbers |= {n for line in path.read_text().splitlines() for n in numbers_in(json.loads(line))}
    sizes = {"vision_tower": 0, "multi_modal_projector": 0, "language_model": 0}
    for name, tensor in load_file(folder / "model.safetensors").items():
        sizes["language_model" if name == "lm_head.weight" else name.split(".")[1]] += tensor.numel()
    return numbers | {*sizes.values(), sum(sizes.values())}


def test_every_number_in_a_table_is_in_the_files(card, documented):
    written = {form for n in numbers_of_folder(documented) for form in (str(n), f"{n:.3f}", f"{n:.4g}", f"{n:,}")}
    runtimes = [json.loads(path.read_text().splitlines()[-1])["train_runtime"] for path in documented.rglob("*.jsonl")]
    written |= {str(datetime.timedelta(seconds=round(seconds))) for seconds in runtimes}
    written.add("2")  # the projector's layers: GeoDiT's architecture, and no setting
    checked = 0
    for rule, header, rows in tables(card):
        for row in rows:
            for align, cell in zip(rule, row, strict=True):
                for number in re.findall(r"[\d.,:]+", cell) if align == "---:" else []:
                    assert number in written, f"{cell} under {header}"
                    checked += 1
    assert checked > 200


def test_the_parts_have_as_many_parameters_as_the_weights(card, checkpoint):
    _, rows = table(card, "part")
    tower, projector, core, total = (int(row[-1].replace(",", "")) for row in rows)
    weights = load_file(checkpoint / "model.safetensors")
    assert tower == sum(w.numel() for name, w in weights.items() if name.startswith("model.vision_tower."))
    assert projector == sum(w.numel() for name, w in weights.items() if "multi_modal_projector" in name)
    assert total == tower + projector + core == sum(weight.numel() for weight in weights.values())
    assert f"A GeoDiT model of {total:,} parameters" in card.text


def test_tasks_boxes_and_tokens_are_those_of_the_processor(card):
    tasks = next(rows for _, header, rows in tables(card) if header[:2] == ["task", "prompt"])
    assert tasks == [
        ["`caption`", "`Describe the image.`", "text", "16"],
        ["`ground`", "`Locate: {query}.`", "boxes", "8"],
        ["`detect`", "`Detect: {query}.`", "boxes", "32"],
        ["`vqa`", "`{query}`", "text", "8"],
        ["`classify`", "`Classify the scene.`", "text", "8"],
    ]
    assert "`<loc_4><loc_2><loc_8><loc_10>`" in card.text  # [24, 12, 48, 60] of 96 in 16 bins of 6
    _, tokens = table(card, "role")
    assert ["mask `[M]`, a token not yet known", r"`<\|mdm_mask\|>`", "2"] in tokens
    assert tokens[-1][1] == "`<loc_0>` to `<loc_15>`"
    assert "An answer to `detect` has room for\n  8 boxes at most" in card.text


def test_stages_stand_in_the_order_in_which_they_start_from_each_other(card):
    header, rows = table(card, "argument")
    assert header == ["argument", "vision", "text", "stage1", "stage2"]
    arguments = {row[0]: row[1:] for row in rows}
    assert arguments["`vision_tower`"] == ["", "stage vision", "", ""]
    assert arguments["`model_name_or_path`"] == ["", "", "stage text", "stage stage1"]
    assert arguments["`learning_rate`"] == ["0.0015", "", "", ""]
    assert arguments["`trainable_parts`"][2] == "projector"
    assert arguments["`bf16`"][3] == "true"
    assert "`logging_steps`" not in arguments


def test_losses_are_those_of_the_log(card):
    header, rows = table(card, "stage")
    vision = dict(zip(header, rows[0], strict=True))
    assert vision == {
        "stage": "vision",
        "updates": "400",
        "epochs": "2",
        "first loss": "6",
        "last loss": "0.15",
        "mean loss": "1.188",
        "last eval loss": "0.275",
        "lowest eval loss": "0.275",
        "time, h:mm:ss": "1:06:46",
        "samples a second": "65.43",
    }
    curve = next(rows for _, header, rows in tables(card) if header[0] == "update")
    assert curve[0] == ["40", "0.2", "1.5", "1.625"]
    assert curve[-1] == ["400", "2", "0.15", "0.275"]


def test_figures_are_means_and_deviations_over_the_seeds(card, documented):
    document = json.loads((documented / "results" / "synthetic.json").read_text())
    header, rows = next((header, rows) for _, header, rows in tables(card) if "questions" in header)
    assert header[3:] == ["N = 1, low confidence", "N = 1, random", "N = 8, low confidence", "N = 8, random"]
    f1 = next(row for row in rows if row[1] == "F1@0.5")
    spreads = [cell["summary"]["detect.f1"] for cell in document["cells"]]
    assert f1[:3] == ["detect", "F1@0.5", "4"]
    kept = next(row for row in rows if row[1] == "F1@0.5, well-formed boxes kept")
    kept_spreads = [cell["summary"]["detect.f1_keep_wellformed"] for cell in document["cells"]]
    assert kept[3:] == [f"{spread['mean']:.3f} ± {spread['std']:.3f}" for spread in kept_spreads]
    assert f1[3:] == [f"{spread['mean']:.3f} ± {spread['std']:.3f}" for spread in spreads]
    assert ["vqa, count", "accuracy", "4"] in [row[:3] for row in rows]
    assert "4 images, the same for every seed" in card.text.replace("\n", " ")


def test_the_command_is_shown_without_the_folders_of_who_ran_it(card):
    assert "geodit evaluate --model stage2 --steps 1,8" in card.text
    assert "alice" not in card.content


def test_the_metadata_are_what_the_hub_reads(documented):
    card = build_model_card(
        documented,
        repo_id="someone/geodit-small",
        base_model=["google/siglip2", "GSAI-ML/LLaDA"],
        datasets=["someone/scenes"],
        tags=["ships", "geodit"],
    )
    front_matter = yaml.safe_load(card.content.split("---\n")[1])
    assert front_matter["license"] == "apache-2.0"
    assert front_matter["library_name"] == "transformers"
    assert front_matter["pipeline_tag"] == "image-text-to-text"
    assert front_matter["base_model"] == ["google/siglip2", "GSAI-ML/LLaDA"]
    assert front_matter["datasets"] == ["someone/scenes"]
    assert front_matter["tags"].count("geodit") == 1
    assert "ships" in front_matter["tags"]
    assert front_matter["model-index"][0]["name"] == "geodit-small"
    assert 'from_pretrained("someone/geodit-small")' in card.text


def test_the_model_index_has_the_figures_at_the_default_decoding(card, documented):
    document = json.loads((documented / "results" / "synthetic.json").read_text())
    (cell,) = [
        cell
        for cell in document["cells"]
        if (cell["settings"]["steps"], cell["settings"]["remasking"]) == (8, "low_confidence")
    ]
    results = {(result.dataset_config, result.metric_name): result for result in card.data.eval_results}
    assert set(results) == {
        ("detect", "precision@0.5"),
        ("detect", "recall@0.5"),
        ("detect", "F1@0.5"),
        ("vqa", "accuracy"),
        ("vqa", "accuracy, count"),
        ("vqa", "accuracy, presence"),
        ("classify", "accuracy"),
    }
    f1 = results["detect", "F1@0.5"]
    assert f1.metric_value == pytest.approx(cell["summary"]["detect.f1"]["mean"], abs=1e-4)
    assert (f1.task_type, f1.dataset_type, f1.metric_type) == ("object-detection", "synthetic", "f1")
    assert f1.dataset_args == {"num_images": 4}
    assert f1.metric_args == {
        "max_denoising_steps": 8,
        "remasking": "low_confidence",
        "num_seeds": 3,
        "std": 0.0,
    }


def test_another_default_decoding_has_other_figures_in_the_model_index(folder):
    path = folder / "generation_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "max_denoising_steps": 1}))
    assert {result.metric_args["max_denoising_steps"] for result in build_model_card(folder).data.eval_results} == {1}
    path.write_text(json.dumps({**config, "max_denoising_steps": 5}))
    card = build_model_card(folder)
    assert card.data.eval_results is None
    assert "Evaluation" in headings(card)


def test_sections_without_files_are_left_out(bare):
    for name in ("processor_config.json", "tokenizer.json", "generation_config.json", "model.safetensors"):
        (bare / name).unlink()
    card = build_model_card(bare)
    assert headings(card) == [
        "How to use",
        "Architecture",
        "Intended use",
        "Limits",
        "Code",
        "Licence",
        "Citation",
    ]
    assert "parameters" not in card.text
    assert card.data.get("model-index") is None
    assert "Unknown training" in card.text
    assert "Not evaluated" in card.text


def test_a_card_is_tidy(card, bare):
    for content in (card.content, build_model_card(bare).content):
        assert "\n\n\n" not in content
        assert content.endswith("```\n")
        assert not re.search(r"[ \t]+$", content, flags=re.MULTILINE)
        assert not re.search(r"\{\{|\{%|\bNone\b|\bUndefined\b", content)


@pytest.mark.parametrize(
    ("recipe", "said", "unsaid"),
    [
        ({"num_scenes": 5}, "**Trained on synthetic scenes.**", "tree crowns"),
        (
            {"num_scenes": 5, "num_neon_tiles": 3},
            "**Trained on synthetic scenes and tree crowns.**",
            "drawn images only",
        ),
        ({"num_neon_tiles": 3}, "**Trained on tree crowns.**", "drawn images"),
        ({"num_scenes": 5, "datasets": ["rsicd=X"]}, "**Trained on published data sets.**", "drawn images only"),
    ],
)
def test_limits_depend_on_what_was_trained_on(bare, recipe, said, unsaid):
    (bare / "training").mkdir()
    (bare / "training" / "only.yaml").write_text(yaml.safe_dump(recipe))
    text = build_model_card(bare).text
    assert said in text
    assert unsaid not in text
    assert "Unknown training" not in text


def test_a_recipe_that_names_no_data_leaves_open_what_the_model_has_seen(bare):
    (bare / "training").mkdir()
    (bare / "training" / "only.yaml").write_text("learning_rate: 0.1")
    text = build_model_card(bare).text
    assert "`learning_rate`" in text
    assert "Unknown training" in text
    assert "Trained on" not in text


def test_published_data_sets_are_named_with_their_licences_and_without_paths(bare):
    (bare / "training").mkdir()
    recipe = {"datasets": ["rsicd=/home/alice/RSICD", "mmrs-1m:optical=/home/alice/mmrs"], "hub_token": "secret"}
    (bare / "training" / "only.yaml").write_text(yaml.safe_dump(recipe))
    card = build_model_card(bare)
    assert "[`mmrs-1m`](https://github.com/wivizhang/EarthGPT) (optical): a million instructions" in card.text
    assert "Licence: not stated" in card.text
    assert "| `datasets` | rsicd, mmrs-1m:optical |" in card.text
    assert "alice" not in card.content
    assert "secret" not in card.content


def test_the_checksums_are_those_of_the_code(bare):
    rows = {row[0].strip("`"): row[1].strip("`") for row in table(build_model_card(bare), "file")[1]}
    assert rows == {name: hashlib.sha256((bare / name).read_bytes()).hexdigest() for name in CODE_FILES}
    (bare / CODE_FILES[0]).write_text("changed")
    changed = {row[0].strip("`"): row[1].strip("`") for row in table(build_model_card(bare), "file")[1]}
    assert {name for name in rows if changed[name] != rows[name]} == {CODE_FILES[0]}


def test_the_scoring_of_each_task_is_told(card):
    assert "* `detect`: boxes of a class matched one to one" in card.text
    assert "* `caption`" not in card.text  # the results have none


def test_grpo_has_the_defaults_of_its_own_arguments(bare):
    (bare / "training").mkdir()
    (bare / "training" / "tuned.yaml").write_text("objective: grpo\nnum_scenes: 5")
    assert "or of `GeoDiTGRPOConfig` with `objective: grpo`" in build_model_card(bare).text


def test_writing_draws_the_logs_and_the_card_shows_them(folder):
    pytest.importorskip("matplotlib")
    write_model_card(folder)
    text = (folder / "README.md").read_text()
    assert "(assets/training.png)" in text
    with Image.open(folder / "assets" / "training.png") as plot:
        assert plot.format == "PNG"


def test_metadata_that_the_hub_would_not_take_are_refused_before_anything_is_written(bare):
    with pytest.raises(ValueError, match="license 'apache2' is none of the identifiers"):
        write_model_card(bare, license="apache2")
    assert not (bare / "README.md").exists()


def test_the_code_in_the_card_runs(documented, tmp_path, monkeypatch, capsys):
    Image.new("RGB", (40, 60), "teal").save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", build_model_card(documented).text, flags=re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(example.replace(f"path/to/{documented.name}", str(documented)), {})
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_writing_replaces_the_readme_and_can_be_read_back(folder):
    (folder / "README.md").write_text("# An old card\n")
    path = write_model_card(folder, model_name="geodit-tiny")
    assert path == folder / "README.md"
    card = ModelCard.load(path)
    assert "# geodit-tiny" in card.text
    assert "An old card" not in card.text
    assert card.content == build_model_card(folder, model_name="geodit-tiny").content


def test_a_template_may_replace_a_single_block(documented, tmp_path):
    template = tmp_path / "own.md.jinja"
    template.write_text(
        '{% extends "model_card.md.jinja" %}{% block citation %}Cite {{ model_name }} as you like.{% endblock %}'
    )
    card = build_model_card(documented, template_path=template)
    ours = build_model_card(documented)
    assert card.text.rstrip().endswith(f"Cite {documented.name} as you like.")
    assert card.text.partition("## Citation")[0] == ours.text.partition("## Citation")[0]


def test_the_template_can_be_replaced(documented, tmp_path):
    template = tmp_path / "own.md.jinja"
    template.write_text("---\n{{ card_data }}\n---\n{{ model_name }}: {{ results[0].table }}")
    card = build_model_card(documented, template_path=template)
    assert card.text.startswith(f"{documented.name}: | task | figure |")
    assert card.data.license == "apache-2.0"


@pytest.mark.parametrize("source", [None, "{{ card_data ", "{{ results[0].no_such.figure }}"])
def test_a_template_that_cannot_be_used_is_named(documented, tmp_path, source):
    template = tmp_path / "own.md.jinja"
    if source is not None:
        template.write_text(source)
    with pytest.raises(ValueError, match=r"own\.md\.jinja"):
        build_model_card(documented, template_path=template)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "is not a checkpoint: it has no config.json"),
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", '{"model_type": "llama"}', "config.json is not that of a GeoDiT model.*'llama'"),
        (
            "config.json",
            '{"model_type": "geodit", "mask_token_id": -1}',
            "config.json is not a valid.*mask_token_id",
        ),
        ("model.safetensors", "nothing", "the weights in .* cannot be read"),
        (
            "generation_config.json",
            '{"remasking": "loud"}',
            "generation_config.json is not a valid.*remasking",
        ),
        (
            "processor_config.json",
            '{"tasks": {}}',
            "processor_config.json: the document has no field 'box_format'",
        ),
        (
            "processor_config.json",
            '{"tasks": {}, "box_format": "geochat"}',
            "processor_config.json: .*one task",
        ),
        (
            "processor_config.json",
            '{"tasks": {"a": {"prompt": 1}}, "box_format": "x"}',
            "processor_config.json: .*'a'",
        ),
        ("tokenizer.json", '{"added_tokens": [{"id": "a"}]}', r"tokenizer.json: added_tokens\[0\]"),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_the_name_of_the_file(bare, name, content, message):
    path = bare / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        write_model_card(bare)
    assert not (bare / "README.md").exists()
