# SPDX-License-Identifier: Apache-2.0
"""What the documents show: code that compiles and runs, commands that parse, links and names that exist."""

import ast
import doctest
import importlib.util
import inspect
import pkgutil
import re
import shutil
import textwrap
import warnings
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import typer.main
import yaml
from PIL import Image

import geodit
from geodit.cli.main import app
from geodit.cli.train import parse_overrides
from geodit.data.schema import QuestionDataset
from geodit.hub_cards.card.templating import TEMPLATES
from geodit.hub_cards.publish.file_selection import published_files
from geodit.tiny.scenes.dataset import synthetic_dataset
from guide_reader import CHECKOUT, blocks_of, commands_of, documents

PACKAGES = sorted(path.parent.name for path in CHECKOUT.glob("*/__init__.py"))

# Guides that other tests follow from the first block to the last.
FOLLOWED = {
    "docs/app.md": "tests/app/test_guide.py",
    "docs/other-models.md": "tests/evaluation/other_models/test_other_models.py",
    "docs/publishing.md": "tests/test_publishing_guide.py",
    "docs/your-own-training-code.md": "tests/test_training_guide.py",
    "SECURITY.md": "tests/test_publishing_guide.py",
}
# What a block that holds this text needs, and a test has not got.
NEEDED = {
    "your-name/": "a repository on the Hub",
    "hf://": "a data set on the Hub",
    "fetch_neon": "a download of 20 MB",
    '"data/': "published data sets",
    "geodit-8b": "weights of 8 billion parameters",
    "LLaDA-8B-Instruct": "weights of 8 billion parameters",
    "runs/": "a training run of the reader's",
    "DistributedConfig": "eight processes",
    "GeoDiTGRPOTrainer": "minutes of sampling; tests/trainers/grpo trains with it",
    "geodit_vllm": "vLLM; vllm_plugin/tests has a server",
    "answer_on_ray": "a Ray cluster; tests/pipelines/test_ray.py runs on one",
}


def python_blocks():
    """Each Python block of a document, with an id that says where it is."""
    for name in documents():
        for number, (language, text) in enumerate(blocks_of(name, {})):
            if language == "python":
                yield pytest.param(text, id=f"{name}-{number}")


def shell_commands():
    for name in documents():
        for language, text in blocks_of(name, {}):
            if language in ("bash", "shell"):
                for arguments in commands_of(text):
                    yield pytest.param(arguments, name.startswith("tiny/"), id=f"{name}: {' '.join(arguments)}")


def is_needed(text):
    return any(marker in text for marker in NEEDED)


@pytest.mark.parametrize("text", [*python_blocks()])
def test_python_compiles(text):
    compile(text, "block", "exec")


def published_card(folder):
    files = published_files(folder, repo_id="ada/geodit-harbors")
    (card,) = (file.content.decode() for file in files if file.path_in_repo == "README.md")
    return card


def test_python_of_published_cards_compiles(adapter):
    checkpoint_card, adapter_card = published_card(geodit.bundled_checkpoint()), published_card(adapter)
    assert "trust_remote_code=True" in checkpoint_card
    assert 'adapter="' in adapter_card
    for text in re.findall(r"^```python\n(.*?)^```$", checkpoint_card + adapter_card, re.MULTILINE | re.DOTALL):
        compile(text, "card", "exec")


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """What a reader has who gets to a block in the middle: a folder with images, and a model that is loaded."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("work")
        patch.chdir(folder)
        demo_scenes = Path(geodit.__file__).parent / "tiny" / "demo_scenes"
        shutil.copy(demo_scenes / "harbor.tif", folder / "forest.tif")
        shutil.copy(demo_scenes / "harbor.tif", folder / "harbor.tif")
        for name in ("harbor.png", "image.png"):
            shutil.copy(demo_scenes / "airport.png", folder / name)
        model = geodit.GeoDiTForMaskedDiffusion.from_pretrained(geodit.bundled_checkpoint())
        processor = geodit.GeoDiTProcessor.from_pretrained(geodit.bundled_checkpoint())
        inputs = processor(images=Image.open("harbor.png"), text="ship", task="detect", return_tensors="pt")
        model.save_pretrained("geodit-trees")
        processor.save_pretrained("geodit-trees")
        yield {
            "geodit": geodit,
            "torch": torch,
            "model": model,
            "processor": processor,
            "pipe": geodit.GeoDiTPipeline(model, processor, device="cpu"),
            "inputs": inputs,
            "pixel_values": inputs["pixel_values"],
            "batches": [inputs, inputs],
            "batches_of_prompts": [{name: inputs[name] for name in ("input_ids", "attention_mask")}],
            "eval_dataset": QuestionDataset(synthetic_dataset(4, split="test")),
        }


@pytest.mark.parametrize("name", [name for name in documents() if name not in FOLLOWED])
def test_python_runs(name, known):
    replacements = dict.fromkeys(("path/to/checkpoint", "path/to/geodit-tiny"), geodit.bundled_checkpoint())
    replacements["your-name/geodit-trees"] = "geodit-trees"
    names = dict(known)
    blocks = [text for language, text in blocks_of(name, replacements) if language == "python"]
    for text in blocks:
        if is_needed(text):
            continue
        if "pattern=" in text and "structured" in text:
            pytest.importorskip("outlines_core")
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*old name")
            exec(compile(text, name, "exec"), names)


def test_what_is_not_run_is_there():
    blocks = [text for name in documents() for language, text in blocks_of(name, {}) if language == "python"]
    assert [marker for marker in NEEDED if not any(marker in text for text in blocks)] == []
    assert [name for name, test in FOLLOWED.items() if name not in (CHECKOUT / test).read_text()] == []


@pytest.mark.parametrize(("arguments", "is_record"), [*shell_commands()])
def test_commands_parse(arguments, is_record):
    context = parse(arguments)
    # A command in a results file has the names of its time.
    assert is_record or old_names(context) == []
    if context.info_name == "train":
        check_overrides([argument for argument in context.args if argument != "..."])


def test_a_wrong_command_would_be_found():
    with pytest.raises(Exception, match="--no-such-option"):
        parse(["evaluate", "--no-such-option"])
    assert old_names(parse(["evaluate", "--steps", "8"])) == ["steps"]
    with pytest.raises(AssertionError):
        check_overrides(["--no_such_field", "8"])


def parse(arguments):
    """The command that is called, its arguments read and nothing run."""
    command = typer.main.get_command(app)
    context = command.make_context("geodit", list(arguments))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return context


def old_names(context):
    """The options given by a name that help does not show."""
    hidden = [option.name for option in context.command.params if getattr(option, "hidden", False)]
    return [name for name in hidden if context.params.get(name)]


def check_overrides(arguments):
    """A recipe's arguments are known when it is read, after the command is parsed."""
    from geodit.trainers.grpo.arguments import GeoDiTGRPOConfig
    from geodit.trainers.runs import recipe_arguments
    from geodit.trainers.training_arguments import GeoDiTTrainingArguments

    classes = [value for value in vars(recipe_arguments).values() if isinstance(value, type)]
    classes = [*classes, GeoDiTTrainingArguments, GeoDiTGRPOConfig]
    known = {field.name for one in classes if hasattr(one, "__dataclass_fields__") for field in fields(one)}
    given = {word[2:].partition("=")[0] for word in parse_overrides(arguments) if word.startswith("--")}
    assert given <= known


def headings(text):
    """The anchors of a document, as GitHub makes them of its headings."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", documents())
def test_links_have_targets(name):
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^()\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (CHECKOUT / name).parent / path if path else CHECKOUT / name
        assert file.exists(), target
        if anchor:
            assert anchor in set(headings(file.read_text(encoding="utf-8"))), target


@pytest.mark.parametrize("name", documents())
def test_files_that_are_named_exist(name):
    folders = "|".join([*PACKAGES, "docs", "tests", "benchmarks", "recipes"])
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    paths = re.findall(rf"`(?:geodit/)?((?:{folders})/[\w./-]+\.(?:py|ya?ml|md|json))`", text)
    assert [path for path in paths if not (CHECKOUT / path).exists()] == []


def docstring_of(name: str) -> str | None:
    """The docstring of a name, which for a module is there even if what the module needs is not installed."""
    try:
        return inspect.getdoc(pkgutil.resolve_name(name))
    except (ImportError, AttributeError):  # the one that its import raises, or its absence from the package
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        return ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))


def test_every_name_in_the_reference_exists_and_every_public_name_is_there():
    pages = "".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "docs" / "reference").glob("*.md"))
    named = re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE)
    assert len(named) == len(set(named))
    for name in named:
        assert docstring_of(name), name
    assert {f"geodit.{name}" for name in geodit.__all__} - set(named) == {"geodit.__version__"}


def test_every_page_is_in_the_navigation():
    class Loader(yaml.SafeLoader):
        """Of functions that mkdocs.yml names there is no need."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda loader, suffix, node: suffix)
    site = yaml.load((CHECKOUT / "mkdocs.yml").read_text(), Loader)  # noqa: S506 - a safe loader
    listed = set(re.findall(r"[\w/-]+\.md", str(site["nav"])))
    pages = {path.relative_to(CHECKOUT / "docs").as_posix() for path in (CHECKOUT / "docs").rglob("*.md")}
    assert pages == listed - {"readme.md", "changelog.md", "contributing.md", "security.md"}


def test_the_citation_is_the_same_everywhere():
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == geodit.__version__
    paper = citation["preferred-citation"]
    bibtex = (TEMPLATES / "citation.md.jinja").read_text(encoding="utf-8")
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    for value in (paper["title"], authors, paper["collection-title"].partition(" of the ")[2], str(paper["year"])):
        assert value in bibtex
    assert paper["url"] in bibtex


def docstring_examples():
    for path in sorted(path for folder in PACKAGES for path in (CHECKOUT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                if ">>>" in text:
                    name = getattr(node, "name", "")
                    yield pytest.param(text, id=f"{path.relative_to(CHECKOUT)}:{name}")


@pytest.mark.parametrize("text", [*docstring_examples()])
def test_examples_in_docstrings_compile(text):
    examples = doctest.DocTestParser().get_examples(textwrap.dedent(text))
    assert examples
    for example in examples:
        compile(example.source, "example", "single")


@pytest.mark.parametrize(
    "name",
    [
        "geodit.modeling_geodit.generation_geodit.GeoDiTGenerationMixin.generate",
        "geodit.pipelines.image_pipeline.GeoDiTPipeline",
        "geodit.pipelines.scene_pipeline.ScenePipeline",
        "geodit.trainers.trainer.GeoDiTTrainer",
    ],
)
def test_examples_of_the_public_classes_run(name, known):
    owner = pkgutil.resolve_name(name)
    found = doctest.DocTestFinder(recurse=False).find(owner, name, globs={})
    (test,) = (one for one in found if one.examples)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report = []
    assert runner.run(test, out=report.append).failed == 0, "".join(report)
