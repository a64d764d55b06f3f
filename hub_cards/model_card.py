# SPDX-License-Identifier: Apache-2.0
"""The model card of a checkpoint, from the files in its folder.

The folder of a checkpoint, with what the card is made of::

    config.json                       the network; the only file that must be there
    model.safetensors, or shards      numbers of parameters (headers alone are read)
    generation_config.json            default decoding
    processor_config.json             tasks, prompts, canvas lengths, notation of boxes
    tokenizer.json                    special tokens
    *_geodit.py                       code that loads it where the package is not installed
    training/<stage>.yaml             recipe of a stage, as it was run
    training/<stage>.jsonl            its log: one entry of `Trainer.state.log_history` a line
    results/*.json                    documents of `geodit evaluate --out`, of this checkpoint
    results/<other model>/*.json      the same of other models, shown for comparison
    README.md                         the card, written by `write_model_card`

Every figure in a card is read from these files; a section without its files is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import jinja2
from huggingface_hub import ModelCard

from geodit.hub_cards.architecture import read_architecture
from geodit.hub_cards.interface import Interface, read_interface, special_tokens_table
from geodit.hub_cards.metadata import card_metadata, default_decoding, eval_results
from geodit.hub_cards.remote_code import has_remote_code
from geodit.hub_cards.results import read_results
from geodit.hub_cards.training import TRAINING_FOLDER, data_sources, losses_table, read_stages, recipes_table

__all__ = ["DEFAULT_TEMPLATE", "build_model_card", "write_model_card"]

DEFAULT_TEMPLATE = Path(__file__).parent / "templates" / "model_card.md.jinja"


def build_model_card(
    checkpoint_dir: str | PathLike[str],
    *,
    model_name: str | None = None,
    repo_id: str | None = None,
    license: str = "apache-2.0",
    language: str = "en",
    base_model: str | Sequence[str] | None = None,
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    template_path: str | PathLike[str] | None = None,
) -> ModelCard:
    """Make the model card of a checkpoint, without writing a file, loading weights or using the network.

    Args:
        checkpoint_dir: Folder of the checkpoint, laid out as the module describes.
        model_name: Title of the card; by default the last part of `repo_id`, or else the folder's name.
        repo_id: Hub id that the code in the card loads from; by default a path to be filled in.
        license: The Hub's identifier of the licence of the weights.
        language: ISO 639 code of the language of prompts and answers.
        base_model: Hub id, or ids, of the models that training started from.
        datasets: Hub ids of the data sets trained on.
        tags: Tags beside those that every GeoDiT model has.
        template_path: A Jinja template to use instead of GeoDiT's own. Both are given `card_data` (YAML) and
            the metadata by their names, `model_name`, `quoted_location`, `decoding`, `architecture`,
            `interface`, `example`, `remote_code`, `special_tokens`, `stages`, `sources`, `recipes`, `losses`,
            `training_folder` and `results`. What the folder does not have is `None`, false or empty; tables print as
            Markdown.

    Returns:
        The card, with the figures of `results/` in the model index of its metadata.

    Raises:
        ValueError: If config.json is missing, or a file cannot be read or is not what it should be; the
            message names the file.
    """
    folder = Path(checkpoint_dir)
    architecture = read_architecture(folder)
    interface = read_interface(folder)
    decoding = default_decoding(folder)
    stages = read_stages(folder)
    results = read_results(folder)

    name = model_name or (repo_id or folder.resolve().name).rpartition("/")[2]
    metadata = card_metadata(
        name,
        eval_results(results, decoding),
        license=license,
        language=language,
        base_model=base_model,
        datasets=datasets,
        tags=tags,
    )
    template = DEFAULT_TEMPLATE if template_path is None else Path(template_path)
    if not template.is_file():
        raise ValueError(f"there is no template {template}")
    sources = data_sources(stages)
    try:
        card: ModelCard = ModelCard.from_template(
            metadata,
            template_path=str(template),
            model_name=name,
            quoted_location=json.dumps(repo_id or f"path/to/{name}", ensure_ascii=False),
            decoding=decoding,
            architecture=architecture,
            interface=interface,
            example=_example_question(interface, sources),
            remote_code=has_remote_code(folder),
            special_tokens=special_tokens_table(folder, architecture.config, interface),
            stages=stages,
            sources=sources,
            recipes=recipes_table(stages),
            losses=losses_table(stages),
            training_folder=TRAINING_FOLDER,
            results=results,
        )
    except jinja2.TemplateError as error:
        raise ValueError(f"the template {template} cannot be used: {error}") from error
    return card


def write_model_card(
    checkpoint_dir: str | PathLike[str],
    *,
    model_name: str | None = None,
    repo_id: str | None = None,
    license: str = "apache-2.0",
    language: str = "en",
    base_model: str | Sequence[str] | None = None,
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    template_path: str | PathLike[str] | None = None,
) -> Path:
    """Write the model card of a checkpoint to README.md in its folder; an existing one is replaced.

    Args:
        checkpoint_dir: See `build_model_card`, as for all other arguments.
        model_name: Title of the card.
        repo_id: Hub id that the code in the card loads from.
        license: The Hub's identifier of the licence of the weights.
        language: ISO 639 code of the language of prompts and answers.
        base_model: Hub id, or ids, of the models that training started from.
        datasets: Hub ids of the data sets trained on.
        tags: Tags beside those that every GeoDiT model has.
        template_path: A Jinja template to use instead of GeoDiT's own.

    Returns:
        Path of the README.md.

    Raises:
        ValueError: As `build_model_card` does; nothing is written then.
    """
    card = build_model_card(
        checkpoint_dir,
        model_name=model_name,
        repo_id=repo_id,
        license=license,
        language=language,
        base_model=base_model,
        datasets=datasets,
        tags=tags,
        template_path=template_path,
    )
    path = Path(checkpoint_dir) / "README.md"
    card.save(path)
    return path


def _example_question(interface: Interface | None, sources: set[str]) -> dict[str, str]:
    """The task, and the query if it takes one, that the code in the card asks with, as Python literals."""
    if interface is None:
        return {"task": '"detect"', "query": '"ship"'}
    task = interface.example_task
    example = {"task": json.dumps(task.name, ensure_ascii=False)}
    if task.takes_query and task.answer == "boxes":
        example["query"] = '"tree"' if sources == {"neon"} else '"ship"'
    elif task.takes_query:
        example["query"] = '"How many ships are there?"'
    return example
