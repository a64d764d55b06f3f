# SPDX-License-Identifier: Apache-2.0
"""Which score of a box, of those that its tokens' probabilities allow, orders boxes best and is calibrated best.

    python benchmarks/box_scores.py --scenes 300 --seed 4242

A model answers the detection questions of synthetic validation scenes once, and every rule scores the same boxes. The
scenes are split into disjoint parts; printed are, as a Markdown table, mean and standard deviation over the parts of
the average precision (all questions in one pool, IoU 0.5), of the expected calibration error (10 bins), and of the
differences to the geometric mean.
"""

import argparse
import shlex
import statistics
import sys
from dataclasses import dataclass

import torch

import geodit
from geodit.data.schema import QuestionDataset, QuestionItem
from geodit.evaluation.metrics.box_scores import average_precision, expected_calibration_error, judge_boxes
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.box_scores import BOX_SCORES, DEFAULT_BOX_SCORE, BoxScore, BoxTokens, read_box_tokens
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.tiny.scenes.dataset import synthetic_dataset

BASELINE = "geometric_mean"
DIFFERENCES = ("average precision", "expected calibration error")


@dataclass(frozen=True)
class Answer:
    """The boxes of one answer, with what the network said of each box's tokens."""

    boxes: list[list[float]]
    tokens: list[BoxTokens]
    true_boxes: list[tuple[float, float, float, float]]


@torch.inference_mode()
def answer(
    model: GeoDiTForMaskedDiffusion, processor: GeoDiTProcessor, items: list[QuestionItem], steps: int
) -> list[Answer]:
    """Answer a batch of detection questions."""
    inputs = processor(
        images=[item["image"] for item in items],
        text=[item["question"].query for item in items],
        task="detect",
        return_tensors="pt",
    )
    output = model.generate(
        **inputs,
        max_new_tokens=processor.canvas_length("detect"),
        max_denoising_steps=steps,
        answer_pattern=processor.answer_pattern("detect"),
        return_dict_in_generate=True,
    )
    canvases = output.sequences[:, inputs["input_ids"].shape[1] :].tolist()
    answers = []
    probabilities = zip(output.confidences.tolist(), output.end_probabilities.tolist(), strict=True)
    for item, ids, (confidences, of_end) in zip(items, canvases, probabilities, strict=True):
        size = (item["image"].height, item["image"].width)
        found = processor.post_process_generation(processor.decode_canvas(ids), "detect", size)
        answers.append(
            Answer(
                found["boxes"],
                read_box_tokens(processor, ids, size, confidences, of_end),
                list(item["question"].boxes),
            )
        )
    return answers


def evaluate(answers: list[Answer], rule: BoxScore) -> dict[str, float]:
    """Average precision and expected calibration error of a rule, and the means that calibration compares."""
    scores: list[float] = []
    correct: list[bool] = []
    for one in answers:
        of_answer = [rule(tokens) for tokens in one.tokens]
        scores += of_answer
        correct += judge_boxes(one.boxes, of_answer, one.true_boxes).tolist()
    num_true = sum(len(one.true_boxes) for one in answers)
    return {
        "average precision": average_precision(scores, correct, num_true),
        "expected calibration error": expected_calibration_error(scores, correct),
        "mean score": statistics.fmean(scores),
        "share of right boxes": statistics.fmean(correct),
    }


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values) if len(values) > 1 else 0.0:.4f}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=geodit.bundled_checkpoint(), help="Folder or Hub id of a checkpoint.")
    parser.add_argument("--scenes", type=int, default=300, help="Synthetic scenes, over all parts.")
    parser.add_argument("--seed", type=int, default=4242, help="Seed of the scenes.")
    parser.add_argument("--split", choices=["test", "validation"], default="validation", help="validation to choose.")
    parser.add_argument("--parts", type=int, default=3, help="Disjoint parts of the scenes to take the spread over.")
    parser.add_argument("--steps", type=int, default=8, help="N, the denoising steps.")
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    processor = GeoDiTProcessor.from_pretrained(options.model)
    model = GeoDiTForMaskedDiffusion.from_pretrained(options.model).eval()
    dataset = synthetic_dataset(options.scenes, seed=options.seed, split=options.split)

    parts: list[list[Answer]] = []
    for part in range(options.parts):
        questions = QuestionDataset(dataset.shard(options.parts, part, contiguous=True))
        items = [questions[index] for index, one in enumerate(questions.questions) if one.task == "detect"]
        parts.append([])
        for start in range(0, len(items), options.batch_size):
            parts[-1] += answer(model, processor, items[start : start + options.batch_size], options.steps)

    answers = [one for part in parts for one in part]
    print(f"python {shlex.join(sys.argv)}")
    print(
        f"{options.scenes} {options.split} scenes of seed {options.seed} in {options.parts} parts, "
        f"N = {options.steps}: {len(answers)} questions, {sum(len(one.boxes) for one in answers)} boxes, "
        f"{sum(len(one.true_boxes) for one in answers)} true ones\n"
    )
    found = {name: [evaluate(part, rule) for part in parts] for name, rule in BOX_SCORES.items()}
    columns = list(found[BASELINE][0])
    print("| score |", " | ".join(columns), "|", " | ".join(f"{name}, difference" for name in DIFFERENCES), "|")
    print("|---|" + "---:|" * (len(columns) + len(DIFFERENCES)))
    for name, runs in found.items():
        mark = "**" if name == DEFAULT_BOX_SCORE else ""
        pairs = list(zip(runs, found[BASELINE], strict=True))
        cells = [spread([run[column] for run in runs]) for column in columns]
        cells += [spread([run[figure] - base[figure] for run, base in pairs]) for figure in DIFFERENCES]
        print(f"| {mark}`{name}`{mark} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
