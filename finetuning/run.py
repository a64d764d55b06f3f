# SPDX-License-Identifier: Apache-2.0
"""A fine-tuning from data set to report. Stopped at any moment and started again, it goes on as it would have."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

import datasets
import torch
from accelerate import PartialState
from transformers import TrainerCallback

from geodit.annotations.stored import MANIFEST, read_manifest
from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.text_files import parse_json_object, read_json_object, read_text
from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import Question
from geodit.evaluation.baseline_tables import BaselineFigures
from geodit.evaluation.baselines import score_baselines
from geodit.evaluation.comparison import compare_answers
from geodit.finetuning.comparison import RESAMPLES, Scores, evaluate_checkpoint
from geodit.finetuning.device_memory import device_memory
from geodit.finetuning.mistakes import draw_mistakes, worst_answers
from geodit.finetuning.options import FinetuneOptions
from geodit.finetuning.plan import FinetunePlan, plan_finetuning
from geodit.finetuning.report import BASELINE_IMAGES, FinetuneReport, next_commands
from geodit.hub_cards.publish.run_folders import RUN_LOG
from geodit.pipelines.visualization import draw_answer
from geodit.trainers.answer_scores import choose_rows
from geodit.trainers.distribution import on_main_process
from geodit.trainers.resilience.run_folder import FINETUNING, RunFolder
from geodit.trainers.runs.recipe_arguments import DataArguments
from geodit.trainers.runs.recipes import run_recipe
from geodit.trainers.runs.training_data import imported_datasets

__all__ = ["finetune", "plan_of"]

Progress = Callable[[str, int, int], None]
"""Called with what is done, and how much of it in how much."""

_PLAN, _RECIPE, _BEFORE, _AFTER = "plan.json", "recipe.yaml", "before.json", "after.json"
_REPORT, _PAGE, _MISTAKES = "report.json", "report.md", "mistakes.png"
_NUM_MISTAKES = 12


def finetune(
    sources: Sequence[str],
    output_dir: str | Path,
    options: FinetuneOptions | None = None,
    *,
    overwrite: bool = False,
    baselines: BaselineFigures | None = None,
    announce: Callable[[FinetunePlan], None] | None = None,
    progress: Progress | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> FinetuneReport | None:
    """Fine-tune a model: plan, evaluate, train, evaluate again, report.

    `output_dir` holds the trained model, and in `finetuning/` the plan, the recipe, what the model answered to the
    test questions before and after, and the report. Called again with the same arguments, it goes on where it was
    stopped, and ends with the same weights.

    Args:
        sources: Data sets that `geodit data import` has made, as the field `imported` of a recipe names them.
        output_dir: Folder of the run.
        options: What is not left to the plan.
        overwrite: Whether an earlier run in the folder is replaced.
        baselines: Those of the report of another seed, so that they are not computed again.
        announce: Called with the plan.
        progress: Called while questions are answered, on the first process.
        callbacks: Of the Trainer.

    Returns:
        The report; of several processes the first has it, the others have `None`.

    Raises:
        FileNotFoundError: If a data set or the model does not exist.
        BlockingIOError: If another run writes to the folder.
        OSError: If a file cannot be read or written.
        ValueError: If options do not fit each other, the data or the memory, or the folder holds something else.
        SystemExit: If the run is told to stop, as [`GuardedTrainer`] says.
    """
    options = options or FinetuneOptions()
    _join_processes(options)
    folder = Path(output_dir)
    if (folder / MANIFEST).is_file():
        raise ValueError(f"{folder} is a data set, whose card the run would replace: choose another folder")
    request = on_main_process(lambda: _request(sources, options))
    # Whatever is wrong with the arguments is said before anything is replaced, or written.
    kept = None if overwrite else on_main_process(lambda: _kept_plan(folder, request))
    values = kept or on_main_process(lambda: plan_of(sources, folder, options).to_dict())
    plan = FinetunePlan.from_dict(json.loads(json.dumps(values)))
    if kept is None:
        run_folder = RunFolder(folder, overwrite=overwrite, bases={"model": options.model})
        with run_folder.opened(None):  # refuses what is there of somebody else
            run_folder.begin()
            on_main_process(run_folder.discard_replaced)
            on_main_process(lambda: _keep_plan(folder, request, plan.to_dict()))
    if announce is not None and PartialState().is_main_process:
        announce(plan)
    on_main_process(lambda: _evaluated_before(folder, options, plan, progress))
    run_recipe(
        str(folder / FINETUNING / _RECIPE),
        ["--resume_from_checkpoint", "auto"],
        draw_answer=draw_answer,
        callbacks=callbacks,
    )
    if not PartialState().is_main_process:
        return None
    return _report(folder, options, plan, progress, baselines)


def plan_of(sources: Sequence[str], output_dir: str | Path, options: FinetuneOptions) -> FinetunePlan:
    """Plan a fine-tuning for this machine, without writing anything; errors are those of [`plan_finetuning`]."""
    _join_processes(options)
    memory = device_memory(options.use_cpu)
    return plan_finetuning(sources, output_dir, options, memory, num_processes=PartialState().num_processes)


def _join_processes(options: FinetuneOptions) -> None:
    """Find the other processes of the run, as Trainer will: the first to ask decides on which devices."""
    PartialState(cpu=options.use_cpu or not torch.accelerator.is_available())


def _request(sources: Sequence[str], options: FinetuneOptions) -> JsonObject:
    """Return what a run is asked for, as JSON gives it back."""
    named = DataArguments(imported=list(sources)).weighted_imports()
    digests = {path: _digest(path) for path, _ in named}
    request = {"sources": list(sources), "options": options.to_dict(), "data": digests}
    found: JsonObject = json.loads(json.dumps(request))
    return found


def _kept_plan(folder: Path, request: JsonObject) -> JsonObject | None:
    """Return the plan of the run in the folder, if there is one.

    Raises:
        ValueError: If the run was asked for something else.
    """
    path = folder / FINETUNING / _PLAN
    if not path.is_file():
        return None
    kept = read_json_object(path)
    if kept.get("request") != request:
        raise ValueError(
            f"{folder} holds a fine-tuning with other {_difference(kept.get('request'), request)}: start it again "
            "as it was, choose another folder, or replace it by --overwrite"
        )
    _check_plan(kept.get("plan"), path)
    plan: JsonObject = kept["plan"]
    return plan


def _keep_plan(folder: Path, request: JsonObject, plan: JsonObject) -> None:
    """Keep a plan in the folder: another start may find other memory, and is to go on as this one began."""
    own = folder / FINETUNING
    own.mkdir(parents=True, exist_ok=True)
    write_atomically(own / _RECIPE, FinetunePlan.from_dict(plan).to_yaml().encode())
    write_atomically(own / _PLAN, json.dumps({"request": request, "plan": plan}, indent=1).encode())


def _check_plan(values: object, path: Path) -> None:
    """Refuse what is no plan of this version.

    Raises:
        ValueError: If it is none.
    """
    try:
        FinetunePlan.from_dict(cast(JsonObject, values))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no plan of this version of geodit: replace the run by --overwrite") from error


def _digest(source: str) -> str:
    """Return what a local data set is known by: its manifest, and the names and sizes of its files."""
    folder = Path(source)
    digest = hashlib.sha256()
    for path in sorted((*folder.glob(MANIFEST), *folder.glob("data/*.parquet"))):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    with suppress(OSError):
        digest.update((folder / MANIFEST).read_bytes())
    return digest.hexdigest()


def _difference(kept: object, request: JsonObject) -> str:
    if not isinstance(kept, dict):
        return "arguments"
    if kept.get("data") != request["data"] and kept.get("sources") == request["sources"]:
        return "data under the same name"
    if kept.get("sources") != request["sources"]:
        return "data sets"
    old, new = kept.get("options") or {}, request["options"]
    return ", ".join(sorted(name for name in {*old, *new} if old.get(name) != new.get(name))) or "arguments"


def _test_rows(plan: FinetunePlan, options: FinetuneOptions) -> tuple[str, datasets.Dataset]:
    """Return the split to test on and its rows: of data without a test split the validation split."""
    for split in ("test", "validation"):
        parts = imported_datasets(DataArguments(imported=plan.recipe["imported"]), split)
        if parts:
            rows = datasets.concatenate_datasets(parts)
            return split, choose_rows(rows, options.test_questions, seed=0)
    raise ValueError(f"{', '.join(plan.recipe['imported'])} has neither a test nor a validation split")


def _evaluated_before(folder: Path, options: FinetuneOptions, plan: FinetunePlan, progress: Progress | None) -> None:
    path = folder / FINETUNING / _BEFORE
    if path.is_file():
        return
    _, rows = _test_rows(plan, options)
    scores = evaluate_checkpoint(
        rows,
        model=options.model,
        revision=options.model_revision,
        dtype=plan.dtype,
        device="cpu" if plan.recipe["use_cpu"] else None,
        canvas_lengths=plan.canvas_lengths,
        progress=None if progress is None else lambda done, total: progress("before", done, total),
    )
    write_atomically(path, json.dumps(scores.to_dict()).encode())


def _baselines(plan: FinetunePlan, test: datasets.Dataset) -> BaselineFigures:
    """Score what answers without a model, from images of the training split drawn at random."""
    train = datasets.concatenate_datasets(imported_datasets(DataArguments(imported=plan.recipe["imported"]), "train"))
    drawn = random.Random(0).sample(range(len(train)), min(len(train), BASELINE_IMAGES))
    return score_baselines(train.select(sorted(drawn)), [test], bootstrap=RESAMPLES)


def _report(
    folder: Path,
    options: FinetuneOptions,
    plan: FinetunePlan,
    progress: Progress | None,
    baselines: BaselineFigures | None,
) -> FinetuneReport:
    own = folder / FINETUNING
    split, rows = _test_rows(plan, options)
    is_adapter = not options.full
    after = evaluate_checkpoint(
        rows,
        model=options.model if is_adapter else str(folder),
        adapter=folder if is_adapter else None,
        revision=options.model_revision if is_adapter else None,
        dtype=plan.dtype,
        device="cpu" if plan.recipe["use_cpu"] else None,
        canvas_lengths=plan.canvas_lengths,
        progress=None if progress is None else lambda done, total: progress("after", done, total),
    )
    write_atomically(own / _AFTER, json.dumps(after.to_dict()).encode())
    log = [parse_json_object(line, RUN_LOG) for line in read_text(folder / RUN_LOG).splitlines()]
    worst = worst_answers(after.answers, _NUM_MISTAKES)
    if worst:
        buffer = io.BytesIO()
        draw_mistakes(worst, rows).save(buffer, format="PNG")
        write_atomically(own / _MISTAKES, buffer.getvalue())
    asked = _example(after)
    before = Scores.from_dict(read_json_object(own / _BEFORE))
    report = FinetuneReport(
        folder=folder,
        model=options.model,
        is_adapter=is_adapter,
        seed=options.seed,
        split=split,
        before=before,
        after=after,
        changes=compare_answers(before.answers, after.answers, resamples=RESAMPLES),
        baselines=_baselines(plan, rows) if baselines is None else baselines,
        evaluations=tuple(line for line in log if "eval_loss" in line),
        metric=options.metric,
        steps=max((int(line["step"]) for line in log if "step" in line), default=0),
        planned_steps=plan.updates,
        commands=next_commands(folder, is_adapter, asked.task, asked.query, _tile_size(plan)),
        mistakes=own / _MISTAKES if worst else None,
    )
    write_atomically(own / _REPORT, (json.dumps(report.to_dict(), indent=1) + "\n").encode())
    write_atomically(own / _PAGE, report.to_markdown().encode())
    return report


def _example(scores: Scores) -> Question:
    """Return a question to show how to use the model: one about boxes if there is one, best with some."""
    questions = [answer.question for answer in scores.answers]
    return max(
        questions, key=lambda one: (("caption", "classify", "vqa", "ground", "detect").index(one.task), len(one.boxes))
    )


def _tile_size(plan: FinetunePlan) -> int | None:
    """Return the side of the tiles that a local data set was cut into."""
    [first, *_] = DataArguments(imported=plan.recipe["imported"]).weighted_imports()
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(read_manifest(first[0])["options"]["tiles"]["size"])
    return None
