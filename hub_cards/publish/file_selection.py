# SPDX-License-Identifier: Apache-2.0
"""What of a checkpoint's folder belongs in a repository of the Hub, and what it is called there.

Files are taken by name, so that what a run leaves beside a model stays where it is: optimizer state,
`training_args.bin` (a pickle), intermediate checkpoints, files half written. Recipes and results are published without
the folders of who made them. A file that lies elsewhere, is cut short or has a secret in it stops everything. Nothing
is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME

from geodit.configuration.hub_ids import hub_id_problem
from geodit.configuration.secrets import find_secrets, mask_secrets, refuse_secrets
from geodit.hub_cards.card.eval_results import EVAL_RESULTS_FOLDER, eval_results_files
from geodit.hub_cards.card.evaluation_results import BENCHMARKS_FILE, RESULTS_FOLDER, read_results
from geodit.hub_cards.card.examples import EXAMPLES_FILE, read_examples
from geodit.hub_cards.card.metadata import CardOptions, default_decoding
from geodit.hub_cards.card.model_card import render_card
from geodit.hub_cards.card.training_history import TRAINING_FOLDER, read_stages
from geodit.hub_cards.card.validation import check_eval_results
from geodit.hub_cards.publish.file_checks import is_path_in_repo, refuse_foreign_files, refuse_secrets_in_files
from geodit.hub_cards.publish.redaction import public_json, public_recipe_file
from geodit.hub_cards.publish.remote_code import code_files
from geodit.hub_cards.publish.weight_files import weight_files
from geodit.weights.assembly import ASSEMBLY_FILE

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
    origin: str | PathLike[str] | None = None,
    **options: Any,
) -> list[PublishedFile]:
    """Collect all files that a repository of a checkpoint, or of an adapter, is to hold; write nothing.

    The code that loads a checkpoint is added where the folder lacks it, and the card is made anew.

    Args:
        checkpoint_dir: Folder of a checkpoint, or of an adapter.
        repo_id: Hub id of the repository.
        origin: The folder that `checkpoint_dir` is a view of ([`as_checkpoint`]), if it is one: no file may be a link
            to a place outside the two.
        **options: Other fields of [`CardOptions`], for the card.

    Returns:
        The files in the order of their paths, each path once. The same folder gives the same files.

    Raises:
        ValueError: If `repo_id` is no Hub id, the folder is not that of a checkpoint or an adapter, it has no weights
            or broken ones, a file is not what it should be, lies elsewhere or holds a token, key or password, or the
            Hub would not take the card; the message names the file or field.
    """
    refuse_secrets(repo_id, "repo_id")
    if (problem := hub_id_problem(repo_id)) is not None:
        raise ValueError(f"repo_id {repo_id!r} is no Hub id: {problem}")
    folder = Path(checkpoint_dir)
    if folder.is_dir():
        refuse_foreign_files(folder, None if origin is None else Path(origin))
    card_options = CardOptions(repo_id=repo_id, **options)
    try:
        contents = _contents(folder, card_options)
    except RecursionError as error:
        raise ValueError(f"a file in {folder} is nested too deeply to be published") from error
    except ValueError as error:
        if not find_secrets(str(error)):
            raise
        raise ValueError(mask_secrets(str(error))) from None  # it quotes the file that it is about
    return [PublishedFile(path, contents[path]) for path in sorted(contents)]


def _contents(folder: Path, options: CardOptions) -> Contents:
    contents = {name: make(folder / name) for name, make in _SETTINGS.items() if (folder / name).is_file()}
    contents |= weight_files(folder)
    code = code_files(folder)
    # The settings stay as they were made public unless they lack the names of the classes.
    contents |= {name: content for name, content in code.items() if isinstance(content, bytes) or name not in contents}
    contents |= _records(folder)
    assert options.repo_id is not None
    contents |= eval_results_files(read_results(folder), default_decoding(folder), options.repo_id)
    # Before the card repeats what is in them: the file to mend is then named.
    refuse_secrets_in_files(contents)
    card, pictures = render_card(folder, options, code)
    shown = pictures | {"README.md": str(card).encode()}
    refuse_secrets_in_files(shown)
    contents |= shown
    _check_results(contents)
    return contents


def _records(folder: Path) -> Contents:
    """Return what is known of training and evaluation, and example predictions."""
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


def _check_results(contents: Contents) -> None:
    """Refuse results that the Hub would not take, before anything leaves the machine.

    Raises:
        ValueError: If something would.
    """
    for name, content in contents.items():
        if not is_path_in_repo(name):
            raise ValueError(f"{name!r:.80} is no name that a file of a repository can have: rename it")
        if name.startswith(f"{EVAL_RESULTS_FOLDER}/"):
            check_eval_results(content if isinstance(content, bytes) else content.read_bytes(), name)
