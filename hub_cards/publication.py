# SPDX-License-Identifier: Apache-2.0
"""What of a checkpoint's folder belongs in a repository of the Hub, and what it is called there.

Files are taken by name, so that what a run leaves beside a model stays where it is: optimizer state,
`training_args.bin` (a pickle), intermediate checkpoints, files half written. Recipes and results are published without
the folders and the tokens of who made them. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME, ADAPTER_SAFE_WEIGHTS_NAME

from geodit.hub_cards.adapter import is_adapter
from geodit.hub_cards.architecture import read_architecture
from geodit.hub_cards.base_models import ASSEMBLY_FILE
from geodit.hub_cards.documents import read_json
from geodit.hub_cards.eval_results import EVAL_RESULTS_FOLDER, eval_results_files
from geodit.hub_cards.examples import EXAMPLES_FILE, read_examples
from geodit.hub_cards.hub_ids import hub_id_problem
from geodit.hub_cards.metadata import default_decoding
from geodit.hub_cards.model_card import CardOptions, render_card
from geodit.hub_cards.public_copies import public_json, public_recipe_file, refuse_tokens
from geodit.hub_cards.remote_code import code_files
from geodit.hub_cards.results import BENCHMARKS_FILE, RESULTS_FOLDER, read_results
from geodit.hub_cards.training import TRAINING_FOLDER, read_stages
from geodit.hub_cards.validation import check_eval_results

__all__ = ["PublishedFile", "published_files"]

Contents = dict[str, Path | bytes]


def _as_it_is(path: Path) -> Path | bytes:
    return path


# What describes model, decoding, processor and tokenizer, each with how it is made public.
_SETTINGS: dict[str, Callable[[Path], Path | bytes]] = {
    ADAPTER_CONFIG_NAME: partial(public_json, fields=("base_model_name_or_path",)),
    ASSEMBLY_FILE: partial(public_json, fields=("sources",)),
    "LICENSE": _as_it_is,
    "chat_template.jinja": _as_it_is,
    "config.json": partial(public_json, fields=("_name_or_path",)),
    "generation_config.json": _as_it_is,
    "preprocessor_config.json": _as_it_is,
    "processor_config.json": partial(public_json, fields=("_name_or_path",)),
    "special_tokens_map.json": _as_it_is,
    "tokenizer.json": _as_it_is,
    "tokenizer_config.json": partial(public_json, fields=("name_or_path", "tokenizer_file")),
}


@dataclass(frozen=True)
class PublishedFile:
    """A file of a repository.

    Args:
        path_in_repo: Where it lies, with `/` between folders.
        content: The file that holds its content, or the content itself.
    """

    path_in_repo: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def published_files(
    checkpoint_dir: str | PathLike[str],
    *,
    repo_id: str,
    model_name: str | None = None,
    license: str = "apache-2.0",
    language: str = "en",
    base_model: str | Sequence[str] | None = None,
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    template_path: str | PathLike[str] | None = None,
) -> list[PublishedFile]:
    """Everything that a repository of a checkpoint, or of an adapter, is to hold; nothing is written.

    The code that loads a checkpoint is added where the folder lacks it, and the card is made anew.

    Args:
        checkpoint_dir: Folder of a checkpoint, or of an adapter.
        repo_id: Hub id of the repository.
        model_name: Title of the card; by default the last part of `repo_id`.
        license: The Hub's identifier of the licence of the weights.
        language: ISO 639 code of the language of prompts and answers.
        base_model: Hub id, or ids, of the models that training started from; by default those that are known.
        datasets: Hub ids of the data sets trained on.
        tags: Tags beside those that every GeoDiT model has.
        template_path: A Jinja template to use instead of GeoDiT's own.

    Returns:
        The files in the order of their paths, each path once. The same folder gives the same files.

    Raises:
        ValueError: If `repo_id` is no Hub id, the folder is not that of a checkpoint or an adapter, it has no weights,
            a file is not what it should be or holds a token, or the Hub would not take the card; the message names
            the file or field.
    """
    if (problem := hub_id_problem(repo_id)) is not None:
        raise ValueError(f"repo_id {repo_id!r} is no Hub id: {problem}")
    folder = Path(checkpoint_dir)
    options = CardOptions(model_name, repo_id, license, language, base_model, datasets, tags, template_path)
    contents = {name: make(folder / name) for name, make in _SETTINGS.items() if (folder / name).is_file()}
    contents |= _weights(folder)
    code = code_files(folder)
    # The settings stay as they were made public unless they lack the names of the classes.
    contents |= {name: content for name, content in code.items() if isinstance(content, bytes) or name not in contents}
    contents |= _records(folder)
    contents |= eval_results_files(read_results(folder), default_decoding(folder), repo_id)
    card, pictures = render_card(folder, options, code)
    contents |= pictures | {"README.md": str(card).encode()}
    _check(contents)
    return [PublishedFile(path, contents[path]) for path in sorted(contents)]


def _weights(folder: Path) -> Contents:
    """The weights, as an index lists them where there is one: shards of an earlier save may lie beside them."""
    if is_adapter(folder):
        names, wanted = [ADAPTER_SAFE_WEIGHTS_NAME], ADAPTER_SAFE_WEIGHTS_NAME
    else:
        read_architecture(folder)  # refuses what is not a GeoDiT checkpoint
        names, wanted = [SAFE_WEIGHTS_NAME], f"{SAFE_WEIGHTS_NAME} or {SAFE_WEIGHTS_INDEX_NAME}"
        index = folder / SAFE_WEIGHTS_INDEX_NAME
        if not (folder / SAFE_WEIGHTS_NAME).is_file() and index.is_file():
            shards = {shard.text() for _, shard in read_json(index)["weight_map"].items()}
            names, wanted = [index.name, *sorted(shards)], "the shards of its index"
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} has no weights to publish: {', '.join(missing)} is missing (wanted: {wanted})")
    return {name: folder / name for name in names}


def _records(folder: Path) -> Contents:
    """What is known of training and evaluation, and example predictions."""
    records: Contents = {}
    training = folder / TRAINING_FOLDER
    for stage in read_stages(folder):
        recipe, log = training / f"{stage.name}.yaml", training / f"{stage.name}.jsonl"
        if recipe.is_file():
            records[f"{TRAINING_FOLDER}/{recipe.name}"] = public_recipe_file(recipe)
        if log.is_file():
            records[f"{TRAINING_FOLDER}/{log.name}"] = log
    for document in read_results(folder):
        records[document.path.as_posix()] = public_json(folder / document.path, fields=("command", "model"))
    benchmarks = f"{RESULTS_FOLDER}/{BENCHMARKS_FILE}"
    if (folder / benchmarks).is_file():
        records[benchmarks] = folder / benchmarks
    examples = read_examples(folder)
    if examples:
        names = (EXAMPLES_FILE, *(example.picture for example in examples if example.picture is not None))
        records |= {name: folder / name for name in names}
    return records


def _check(contents: Contents) -> None:
    """Nothing that the Hub would not take, and no token, leaves the machine.

    Raises:
        ValueError: If something would.
    """
    for name, content in contents.items():
        if Path(name).suffix in (".json", ".jsonl", ".jinja", ".md", ".yaml"):
            text = content if isinstance(content, bytes) else content.read_bytes()
            refuse_tokens(name, text)
            if name.startswith(f"{EVAL_RESULTS_FOLDER}/"):
                check_eval_results(text, name)
