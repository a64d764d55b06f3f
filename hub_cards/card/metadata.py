# SPDX-License-Identifier: Apache-2.0
"""The YAML at the top of a model card, which the Hub reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.configuration.types_geodit import Arguments, JsonObject
from geodit.hub_cards.card.checkpoint_files import read_fields
from geodit.hub_cards.card.evaluation_results import (
    Figure,
    Results,
    ResultsCell,
    benchmark_title,
)

__all__ = ["CardOptions", "card_metadata", "default_decoding", "eval_results", "main_results"]

_TAGS = ("geodit", "remote-sensing", "earth-observation", "masked-diffusion", "visual-grounding")
# The figures that tell how good answers are, by the Hub's names for metrics.
_METRIC_TYPES = {
    "cider": "cider",
    "bleu4": "bleu",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "f1",
    "map50": "map",
}
_TASK_TYPES = {
    "caption": ("image-to-text", "Captioning"),
    "ground": ("object-detection", "Visual grounding"),
    "detect": ("object-detection", "Object detection"),
    "vqa": ("visual-question-answering", "Visual question answering"),
    "classify": ("image-classification", "Scene classification"),
}


@dataclass(frozen=True)
class CardOptions:
    """What a card says that no file of the checkpoint knows.

    Args:
        model_name: Title of the card; by default the last part of `repo_id`, or else the folder's name.
        repo_id: Hub id that the code in the card loads from; by default a path to be filled in.
        license: The Hub's identifier of the licence of the weights.
        language: ISO 639 code of the language of prompts and answers.
        base_model: Hub id, or ids, of the models that training started from; by default those that the files name.
        datasets: Hub ids of the data sets trained on.
        tags: Tags beside those that every GeoDiT model has.
        template_path: A Jinja template to use instead of GeoDiT's own. It may start with
            `{% extends "model_card.md.jinja" %}` and replace single blocks of that. Templates are given `card_data`
            (YAML), the metadata by their names, and what `render_card` gathers. What the folder does not have is
            `None`, false or empty; tables print as Markdown.
    """

    model_name: str | None = None
    repo_id: str | None = None
    license: str = "apache-2.0"
    language: str = "en"
    base_model: str | Sequence[str] | None = None
    datasets: Sequence[str] = ()
    tags: Sequence[str] = ()
    template_path: str | PathLike[str] | None = None


def card_metadata(
    options: CardOptions,
    results: Sequence[EvalResult] = (),
    *,
    base_model_relation: str | None = None,
    library_name: str = "transformers",
    emissions: Mapping[str, object] | None = None,
) -> ModelCardData:
    """Make the metadata of a model card.

    Args:
        options: What they say of the model; its name is that in the model index.
        results: The model's figures, see `eval_results`.
        base_model_relation: What the model is to its base models, `"adapter"` or `"finetune"`.
        library_name: The library that loads it.
        emissions: The Hub's `co2_eq_emissions`, if they were measured.
    """
    base_model = options.base_model
    optional: Arguments = {"base_model_relation": base_model_relation, "co2_eq_emissions": emissions}
    return ModelCardData(
        license=options.license,
        language=options.language,
        library_name=library_name,
        pipeline_tag="image-text-to-text",
        tags=[*_TAGS, *options.tags],
        base_model=base_model if base_model is None or isinstance(base_model, str) else list(base_model),
        datasets=list(options.datasets) or None,
        # The metadata have a place for the name only in the model index.
        model_name=options.model_name if results else None,
        eval_results=list(results) or None,
        **{name: value for name, value in optional.items() if value is not None},
    )


def default_decoding(folder: Path) -> DecodingOptions:
    """Return how a checkpoint decodes by default: as its generation_config.json says, or as GeoDiT does.

    Raises:
        ValueError: If the file is not a valid generation configuration.
    """
    path = folder / "generation_config.json"
    fields = read_fields(path).mapping() if path.is_file() else {}
    try:
        config = GeoDiTGenerationConfig(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a valid generation configuration: {error}") from error
    return DecodingOptions.of_generation_config(config)


def eval_results(results: Sequence[Results], decoding: DecodingOptions) -> list[EvalResult]:
    """Return the main figures as the entries of a model index.

    They are what a user of the checkpoint's defaults gets: figures of this model and no other, under the
    decoding that is its default. Where two documents have figures of the same task, the one that asked more
    questions counts.

    Args:
        results: The documents.
        decoding: How the checkpoint decodes by default.
    """
    return [
        _eval_result(document, cell, task, name)
        for document, cell, task in main_results(results, decoding)
        for name in cell.figures
        if name.partition(".")[0] == task and name.rpartition(".")[2] in _METRIC_TYPES
    ]


def main_results(results: Sequence[Results], decoding: DecodingOptions) -> list[tuple[Results, ResultsCell, str]]:
    """Return where the figures of each benchmark and task are that a user of the checkpoint's defaults gets.

    Args:
        results: The documents.
        decoding: How the checkpoint decodes by default.

    Returns:
        Document, point of its grid, and task.
    """
    chosen: dict[tuple[str, str], tuple[Results, ResultsCell]] = {}
    for document in results:
        for cell in document.cells:
            if document.other_model is not None or cell.point != decoding:
                continue
            for task in cell.tasks:
                key = (document.benchmark, task)
                if key not in chosen or _questions(chosen[key][1], task) < _questions(cell, task):
                    chosen[key] = (document, cell)
    return [(document, cell, task) for (_, task), (document, cell) in chosen.items()]


def _questions(cell: ResultsCell, task: str) -> int:
    return sum(cell.num_samples.get(task, ()))


def _eval_result(document: Results, cell: ResultsCell, task: str, name: str) -> EvalResult:
    part, _, kind = name.rpartition(".")
    task_type, task_name = _TASK_TYPES.get(task, ("image-text-to-text", task))
    title, sort = cell.title(name), part.partition(".")[2]
    figure = cell.figures[name]
    images = sorted(set(cell.num_images))
    return EvalResult(
        task_type=task_type,
        task_name=task_name,
        dataset_type=document.hub_dataset or document.benchmark,
        dataset_name=benchmark_title(document.benchmark),
        # A model index has one entry for each task type, data set and config: grounding is not detection.
        dataset_config=task,
        dataset_split=document.split,
        dataset_args={"num_images": images[0] if len(images) == 1 else images},
        metric_type=_METRIC_TYPES[kind],
        metric_name=f"{title}, {sort}" if sort else title,
        metric_value=round(figure.mean, 4),
        metric_args=_metric_args(cell, len(document.seeds), figure),
    )


def _metric_args(cell: ResultsCell, num_seeds: int, figure: Figure) -> JsonObject:
    arguments: JsonObject = {"num_seeds": num_seeds}
    if cell.point is not None:
        arguments = {
            "max_denoising_steps": cell.point.max_denoising_steps,
            "remasking": cell.point.remasking,
            **arguments,
        }
    if figure.std is not None:
        arguments["std"] = round(figure.std, 4)
    if figure.interval is not None:
        arguments["confidence_interval_95"] = [round(end, 4) for end in figure.interval]
    return arguments
