# SPDX-License-Identifier: Apache-2.0
"""The card of a checkpoint or an adapter, from the files in its folder.

The folder of a checkpoint, with what the card is made of::

    config.json                       the network; the only file that must be there
    model.safetensors, or shards      numbers of parameters (headers alone are read)
    generation_config.json            default decoding
    processor_config.json             tasks, prompts, canvas lengths, notation of boxes
    tokenizer.json                    special tokens
    *_geodit.py                       code that loads it where the package is not installed
    assembly.json                     the models that it was assembled from
    training/<stage>.yaml             recipe of a stage, as it was run
    training/<stage>.jsonl            its log: one entry of `Trainer.state.log_history` a line
    training/<stage>.emissions.csv    what CodeCarbon has measured
    results/*.json                    documents of `geodit evaluate --out`, of this checkpoint
    results/<other model>/*.json      the same of other models, shown for comparison
    results/benchmarks.yaml           data sets of the Hub that benchmarks are published as
    assets/examples.json              example predictions, with their pictures beside
    assets/training.png               the logs as a picture, written by `write_model_card`
    README.md                         the card, written by `write_model_card`

An adapter has `adapter_config.json` and `adapter_model.safetensors` in the place of network and weights, and a folder
that training has written `emissions.csv` in the place of those in `training/`.

Every figure in a card is read from these files; a section without its files is left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.configuration.secrets import refuse_secrets
from geodit.hub_cards.card.adapter_facts import is_adapter, read_adapter
from geodit.hub_cards.card.architecture import read_architecture
from geodit.hub_cards.card.base_models import BaseModel, hub_ids, read_base_models
from geodit.hub_cards.card.checkpoint_files import has_remote_code
from geodit.hub_cards.card.emissions import read_emissions
from geodit.hub_cards.card.evaluation_results import read_results
from geodit.hub_cards.card.examples import ASSETS_FOLDER, examples_table, pictures_table, read_examples
from geodit.hub_cards.card.markdown import Markdown, Table, code
from geodit.hub_cards.card.metadata import CardOptions, card_metadata, default_decoding, eval_results
from geodit.hub_cards.card.processor_facts import Interface, read_interface, special_tokens_table
from geodit.hub_cards.card.recipe_table import recipes_table
from geodit.hub_cards.card.templating import TEMPLATES, fill_template
from geodit.hub_cards.card.training_data import TrainingData, training_data
from geodit.hub_cards.card.training_history import TRAINING_FOLDER, losses_table, read_stages, total_runtime
from geodit.hub_cards.card.training_plots import can_plot, training_plot
from geodit.hub_cards.card.validation import check_card
from geodit.weights.bundled import BUNDLED

__all__ = ["DEFAULT_TEMPLATE", "build_model_card", "render_card", "write_model_card"]

DEFAULT_TEMPLATE = TEMPLATES / "model_card.md.jinja"
ADAPTER_TEMPLATE = TEMPLATES / "adapter_card.md.jinja"
PLOT = f"{ASSETS_FOLDER}/training.png"


def build_model_card(checkpoint_dir: str | PathLike[str], **options: Any) -> ModelCard:
    """Make the card of a checkpoint or an adapter, without writing a file, loading weights or using the network.

    Args:
        checkpoint_dir: Folder of the checkpoint, laid out as the module describes.
        **options: Fields of [`CardOptions`].

    Returns:
        The card, with the figures of `results/` in the model index of its metadata.

    Raises:
        ValueError: If config.json is missing, or a file cannot be read or is not what it should be, or the Hub would
            not take the metadata; the message names the file or the field.
    """
    return _build(Path(checkpoint_dir), CardOptions(**options))[0]


def write_model_card(checkpoint_dir: str | PathLike[str], **options: Any) -> Path:
    """Write the model card of a checkpoint to README.md in its folder; an existing one is replaced.

    Args:
        checkpoint_dir: Folder of the checkpoint, see [`build_model_card`].
        **options: Fields of [`CardOptions`].

    Returns:
        Path of the README.md.

    Raises:
        ValueError: As `build_model_card` does; nothing is written then.
    """
    folder = Path(checkpoint_dir)
    card, pictures = _build(folder, CardOptions(**options))
    for name, content in pictures.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_atomically(folder / name, content)
    path = folder / "README.md"
    write_atomically(path, str(card).encode())
    return path


def render_card(
    folder: Path, options: CardOptions, code_files: Mapping[str, Path | bytes]
) -> tuple[ModelCard, dict[str, bytes]]:
    """Render the card of a folder, together with the pictures of it that the folder lacks.

    Args:
        folder: Folder of a checkpoint or an adapter.
        options: What no file knows.
        code_files: The code that is published with it, by name; empty if there is none.

    Returns:
        The card, and by their paths in the repository the pictures that it shows and that were drawn for it.

    Raises:
        ValueError: As `build_model_card` does.
    """
    refuse_secrets(vars(options), "what is told to the card")
    adapter = read_adapter(folder) if is_adapter(folder) else None
    architecture = read_architecture(folder) if adapter is None else None
    interface = read_interface(folder)
    decoding = default_decoding(folder)
    stages = read_stages(folder)
    data = training_data(stages)
    results = read_results(folder)
    emissions = read_emissions(folder)
    examples = read_examples(folder)
    base_models = read_base_models(folder, stages) if adapter is None else [adapter.base]
    pictures = {PLOT: training_plot(stages)} if can_plot(stages) else {}

    name = options.model_name or (options.repo_id or folder.resolve().name).rpartition("/")[2]
    metadata = card_metadata(
        replace(
            options,
            model_name=name,
            base_model=options.base_model or _one_or_all(hub_ids(base_models)),
            tags=options.tags if adapter is None else [adapter.kind.lower(), *options.tags],
        ),
        eval_results(results, decoding),
        base_model_relation=None if adapter is None else "adapter",
        library_name="transformers" if adapter is None else "peft",
        emissions=None if emissions is None else emissions.metadata,
    )
    default_template = DEFAULT_TEMPLATE if adapter is None else ADAPTER_TEMPLATE
    template = default_template if options.template_path is None else Path(options.template_path)
    code_names = [file for file in CODE_FILES if file in code_files]
    content = fill_template(
        template,
        {
            **metadata.to_dict(),
            "card_data": Markdown(metadata.to_yaml()),
            "model_name": name,
            "quoted_location": _literal(options.repo_id or f"path/to/{name}"),
            "decoding": decoding,
            "architecture": architecture,
            "adapter": adapter,
            "base_is_found": adapter is not None and (adapter.base.on_hub or adapter.base.name == BUNDLED),
            "base_models": _base_models_table(base_models) if adapter is None else None,
            "interface": interface,
            "example": _example_question(interface, data),
            "remote_code": bool(code_names),
            "code": _checksums(code_names, code_files),
            "special_tokens": None
            if architecture is None
            else special_tokens_table(folder, architecture.config, interface),
            "stages": stages,
            "data": data,
            "recipes": recipes_table(stages),
            "has_grpo": any(stage.recipe.get("objective") == "grpo" for stage in stages),
            "has_nll": any(stage.values("eval_nll") for stage in stages),
            "plot": PLOT if pictures else None,
            "losses": losses_table(stages),
            "runtime": total_runtime(stages),
            "on_cpu": all(stage.recipe.get("use_cpu") is True for stage in stages),
            "emissions": emissions,
            "training_folder": TRAINING_FOLDER,
            "results": results,
            "protocols": list(dict.fromkeys(line for document in results for line in document.protocols)),
            "pictures": pictures_table(examples),
            "examples": examples_table(examples),
        },
    )
    refuse_secrets(content, "the card, and so a file that it is made of,")
    card = ModelCard(content)
    check_card(card)
    return card, pictures


def _build(folder: Path, options: CardOptions) -> tuple[ModelCard, dict[str, bytes]]:
    files = {name: folder / name for name in CODE_FILES} if has_remote_code(folder) else {}
    return render_card(folder, options, files)


def _checksums(names: Sequence[str], files: Mapping[str, Path | bytes]) -> Table | None:
    if not names:
        return None
    contents = ((name, files[name]) for name in names)
    rows = [
        (code(name), code(hashlib.sha256(file if isinstance(file, bytes) else file.read_bytes()).hexdigest()))
        for name, file in contents
    ]
    return Table(("file", "SHA-256"), tuple(rows), num_left=2)


def _base_models_table(models: Sequence[BaseModel]) -> Table | None:
    if not models:
        return None
    rows = []
    for model in models:
        link = Markdown(f"[{model.name}](https://huggingface.co/{model.name})")  # a Hub id has no markup
        rows.append((link if model.on_hub else code(model.name), model.part, model.licence or "see its own page"))
    return Table(("model", "what was taken", "licence"), tuple(rows), num_left=3)


def _one_or_all(names: Sequence[str]) -> str | Sequence[str] | None:
    return names[0] if len(names) == 1 else list(names) or None


def _example_question(interface: Interface | None, data: TrainingData) -> dict[str, Markdown]:
    """Return the task, and the query if it takes one, that the code in the card asks with, as Python literals."""
    if interface is None:
        return {"task": _literal("detect"), "query": _literal("ship")}
    task = interface.example_task
    example = {"task": _literal(task.name)}
    if task.takes_query and task.answer == "boxes":
        example["query"] = _literal("tree" if data.is_trees_alone else "ship")
    elif task.takes_query:
        example["query"] = _literal("How many ships are there?")
    return example


def _literal(text: str) -> Markdown:
    """Write a string as a Python literal."""
    return Markdown(json.dumps(text, ensure_ascii=False))
