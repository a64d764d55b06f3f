# SPDX-License-Identifier: Apache-2.0
"""What it is worth that a finished answer makes room for the next tile, instead of waiting for those of its batch.

    python benchmarks/slots.py --tiles 200 --slots 16 --steps 32 --rounds 5

A model detects in tiles whose answers differ in length: synthetic test scenes, each asked for one class that it has
many or none of. The same tiles are answered in turn, in one process, in slots (`generate_many`) and in batches of as
many rows, both by steps of fixed shapes, and by the eager loop, which takes finished rows out of its batch. Printed
are medians, the ratios of each round with their range, and whether all answers are the same to the last token.
"""

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch

import geodit
from geodit.data.schema import QuestionDataset
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.tiny.scenes.dataset import synthetic_dataset

Answers = dict[int, list[int]]


def make_batches(processor: GeoDiTProcessor, tiles: int, seed: int, batch_size: int) -> list[dict[str, Any]]:
    """Questions of detection with their images, ready for the model."""
    questions = QuestionDataset(synthetic_dataset(tiles, seed=seed, split="test"))
    indices = [index for index, one in enumerate(questions.questions) if one.task == "detect"][:tiles]
    batches = []
    for start in range(0, len(indices), batch_size):
        items = [questions[index] for index in indices[start : start + batch_size]]
        text = [item["question"].query for item in items]
        images = [item["image"] for item in items]
        batches.append(dict(processor(images=images, text=text, task="detect", return_tensors="pt")))
    return batches


def answer_in_slots(model: Any, batches: Iterable[dict[str, Any]], options: dict[str, Any]) -> tuple[Answers, int]:
    """Answers and their denoising steps, summed up."""
    answers, steps = {}, 0
    for answer in model.generate_many(batches, capture_step=True, **options):
        answers[answer.index] = answer.canvas.tolist()
        steps += answer.steps_made
    return answers, steps


def answer_in_batches(
    model: Any, batches: Iterable[dict[str, Any]], options: dict[str, Any], fixed: bool
) -> tuple[Answers, int]:
    """Answers, and the steps that rows took part in; where shapes are fixed all rows of a batch do to the end."""
    answers: Answers = {}
    steps = 0
    for batch in batches:
        batch = {name: value.to(model.device) for name, value in batch.items()}
        output = model.generate(**batch, capture_step=fixed, return_dict_in_generate=True, **options)
        for canvas in output.sequences[:, batch["input_ids"].shape[1] :].tolist():
            answers[len(answers)] = canvas
        of_rows = output.steps_made.tolist()
        steps += sum(of_rows) if not fixed else max(of_rows) * len(of_rows)
    return answers, steps


def timed(function: Callable[[], tuple[Answers, int]]) -> tuple[float, Answers, int]:
    """Seconds of a call, with the device's work, and what it returns."""
    started = time.perf_counter()
    answers, steps = function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, answers, steps


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=geodit.bundled_checkpoint(), help="Folder or Hub id of a checkpoint.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", help="Of the weights.")
    parser.add_argument("--tiles", type=int, default=200)
    parser.add_argument("--slots", type=int, default=16, help="Rows that run at once.")
    parser.add_argument("--steps", type=int, default=32, help="N, the denoising steps.")
    parser.add_argument("--canvas", type=int, help="L; by default that of the task.")
    parser.add_argument("--confidence-threshold", type=float, help="Commit all above it in a step.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the scenes.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="Of a CPU.")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    processor = GeoDiTProcessor.from_pretrained(options.model)
    model = GeoDiTForMaskedDiffusion.from_pretrained(options.model, dtype=options.dtype).to(options.device).eval()
    batches = make_batches(processor, options.tiles, options.seed, options.slots)
    decoding = {
        "max_new_tokens": options.canvas or processor.canvas_length("detect"),
        "max_denoising_steps": options.steps,
        "confidence_threshold": options.confidence_threshold,
        "answer_pattern": processor.answer_pattern("detect"),
    }
    contestants: dict[str, Callable[[], tuple[Answers, int]]] = {
        "batches": lambda: answer_in_batches(model, batches, decoding, fixed=True),
        "slots": lambda: answer_in_slots(model, batches, decoding),
        "eager batches": lambda: answer_in_batches(model, batches, decoding, fixed=False),
    }
    for contestant in contestants.values():
        contestant()  # captures, and warms up
    rounds = [{name: timed(contestant) for name, contestant in contestants.items()} for _ in range(options.rounds)]

    count = sum(len(batch["input_ids"]) for batch in batches)
    print(f"python {shlex.join(sys.argv)}")
    print(f"{count} tiles, {options.slots} at once, N = {options.steps}, L = {decoding['max_new_tokens']}\n")
    print("| | seconds | tiles per second | steps of rows | to batches | same answers |")
    print("|---|---:|---:|---:|---:|---|")
    for name in contestants:
        seconds = statistics.median(one[name][0] for one in rounds)
        ratios = [one[name][0] / one["batches"][0] for one in rounds]
        same = all(one[name][1] == one["batches"][1] for one in rounds)
        print(
            f"| {name} | {seconds:.2f} | {count / seconds:.1f} | {rounds[0][name][2]} | "
            f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} - {max(ratios):.2f}) | {'yes' if same else 'no'} |"
        )


if __name__ == "__main__":
    main()
