# SPDX-License-Identifier: Apache-2.0
"""What policies that choose the number of steps themselves save, and what they cost, on scenes not trained on.

    python benchmarks/adaptive_steps.py --scenes 500 --seeds 3

Every policy answers the same questions as N = 8 fixed steps: detection and captions of synthetic test scenes, other
ones with each seed. Printed are, as a Markdown table, the steps an answer took and the figures, mean and standard
deviation over the seeds, and the mean difference to N = 8.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import geodit
from geodit.configuration.decoding_options import DecodingOptions
from geodit.evaluation.evaluate import EvaluationResult, evaluate_model
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.tiny.scenes.dataset import synthetic_dataset

FIXED = DecodingOptions(max_denoising_steps=8)
POLICIES = {
    "N = 8": FIXED,
    "N = 4": replace(FIXED, max_denoising_steps=4),
    "random, N = 8": replace(FIXED, remasking="random"),
    **{
        f"probability above {threshold}, N = {ceiling} at most": replace(
            FIXED, max_denoising_steps=ceiling, confidence_threshold=threshold
        )
        for threshold, ceiling in ((0.7, 5), (0.85, 5), (0.8, 8), (0.95, 8), (0.8, 64))
    },
    "margin above 0.6, N = 5 at most": replace(
        FIXED, max_denoising_steps=5, remasking="low_margin", confidence_threshold=0.6
    ),
    **{
        f"entropies of {bound} nats, N = {ceiling} at most": replace(
            FIXED, max_denoising_steps=ceiling, remasking="high_entropy", entropy_bound=bound
        )
        for bound, ceiling in ((0.5, 5), (4.0, 8))
    },
}
FIGURES = {"detection F1@0.5": ("detect", "f1"), "CIDEr (0 to 10)": ("caption", "cider")}


def figures_of(result: EvaluationResult) -> dict[str, float]:
    """Average the steps per answer, over all tasks and per task, and take the figures."""
    steps: dict[str, list[int]] = {}
    for answer in result.answers:
        steps.setdefault(f"steps, {answer.question.task}", []).append(answer.num_steps)
    found = {name: statistics.fmean(numbers) for name, numbers in sorted(steps.items())}
    found["steps"] = result.mean_steps
    for name, (task, metric) in FIGURES.items():
        found[name] = float(result.figures[task][metric])
    return found


def spread(values: list[float]) -> str:
    """Format mean and standard deviation."""
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0.0:.3f}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=geodit.bundled_checkpoint(), help="Folder or Hub id of a checkpoint.")
    parser.add_argument("--scenes", type=int, default=500, help="Synthetic test scenes, each seed.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="validation to choose.")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--dtype", default="auto", help="Of the weights; by default as in the checkpoint.")
    parser.add_argument("--out", type=Path, help="Write the figures of all seeds to this JSON file.")
    parser.add_argument("--as-llada", action="store_true", help="Also denoise after EOS, and allow boxes of any form.")
    options = parser.parse_args()
    plain = {"fill_after_eos": False, "structured": False} if options.as_llada else {}
    processor = GeoDiTProcessor.from_pretrained(options.model)
    model = GeoDiTForMaskedDiffusion.from_pretrained(options.model, dtype=options.dtype).eval()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in POLICIES}
    for seed in range(options.seeds):
        dataset = synthetic_dataset(options.scenes, seed=seed, split=options.split)
        for name, settings in POLICIES.items():
            result = evaluate_model(
                model,
                processor,
                dataset,
                replace(settings, **plain),
                tasks=("caption", "detect"),
                batch_size=options.batch_size,
            )
            found[name].append(figures_of(result))
    columns = list(found["N = 8"][0])
    print("| policy |", " | ".join(columns), "|", " | ".join(f"{name} to N = 8" for name in FIGURES), "|")
    print("|---|" + "---:|" * (len(columns) + len(FIGURES)))
    for name, runs in found.items():
        cells = [spread([run[column] for run in runs]) for column in columns]
        pairs = list(zip(runs, found["N = 8"], strict=True))
        cells += [spread([run[figure] - fixed[figure] for run, fixed in pairs]) for figure in FIGURES]
        print(f"| {name} |", " | ".join(cells), "|")
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
