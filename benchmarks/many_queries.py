# SPDX-License-Identifier: Apache-2.0
"""What it is worth to ask all queries of a scene in one run, which encodes each tile once.

    python benchmarks/many_queries.py --side 3 --rounds 3

A mosaic of synthetic scenes is asked for ten classes in tiles: in one call and in ten, by turns in one process, and by
one command and by ten, as a user would run them. Printed are medians and the ratios of each round with their range,
and whether all answers are the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import geodit
from geodit.configuration.decoding_options import DecodingOptions
from geodit.pipelines.scene_pipeline import ScenePipeline
from geodit.tiny.scenes.dataset import scene_seed
from geodit.tiny.scenes.rendering import render_scene
from geodit.tiny.scenes.scene import REFERENCE_SIZE, sample_scene
from geodit.tiny.scenes.vocabulary import label_names

QUERIES = (*label_names, "white ship", "red building", "blue vehicle")
Answers = list[tuple[str, list[tuple[float, ...]]]]


def write_mosaic(path: Path, side: int, seed: int) -> None:
    """Write scenes side by side to an image."""
    pictures = [render_scene(sample_scene(scene_seed("test", seed, number))) for number in range(side * side)]
    rows = [np.concatenate(pictures[start : start + side], axis=1) for start in range(0, side * side, side)]
    Image.fromarray(np.concatenate(rows)).save(path)


def commands(path: Path, queries: Sequence[str], steps: int) -> Answers:
    """Ask by one command."""
    arguments = [sys.executable, "-m", "geodit.cli", "predict", str(path), "--task", "detect", "--json"]
    arguments += ["--tile-size", str(REFERENCE_SIZE), "--max-denoising-steps", str(steps), "--dtype", "float32"]
    arguments += [part for query in queries for part in ("--query", query)]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    return [(one["query"], [tuple(box) for box in one["boxes"]]) for one in json.loads(output)["predictions"]]


def timed(ask: Callable[[Sequence[str]], Answers], runs: Sequence[Sequence[str]]) -> tuple[float, Answers]:
    """Return the seconds that some runs take, each with its queries, and the answers."""
    begin = time.perf_counter()
    answers = [one for queries in runs for one in ask(queries)]
    return time.perf_counter() - begin, answers


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=3, help="scenes along either side of the mosaic")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-commands", action="store_true", help="measure in this process only")
    arguments = parser.parse_args()

    scenes = ScenePipeline("geodit-tiny", device="cpu")
    scenes.pipeline.model.float()
    options = DecodingOptions(max_denoising_steps=arguments.steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mosaic.png"
        write_mosaic(path, arguments.side, arguments.seed)

        def call(queries: Sequence[str]) -> Answers:
            result = scenes.predict(path, queries, tile_size=REFERENCE_SIZE, options=options)
            return [(one.query, list(one.boxes)) for one in result.predictions]

        call(QUERIES[:2])
        cases: dict[str, Callable[[Sequence[str]], Answers]] = {"call": call}
        if not arguments.without_commands:
            cases["command"] = lambda queries: commands(path, queries, arguments.steps)
        print(f"$ python {' '.join(sys.argv)}\ngeodit {geodit.__version__}, geodit-tiny, {len(QUERIES)} queries")
        for name, ask in cases.items():
            at_once, one_by_one, same = [], [], True
            for _ in range(arguments.rounds):
                seconds, answers = timed(ask, [QUERIES])
                at_once.append(seconds)
                seconds, others = timed(ask, [[query] for query in QUERIES])
                one_by_one.append(seconds)
                same = same and answers == others
            ratios = [several / one for several, one in zip(one_by_one, at_once, strict=True)]
            print(
                f"one {name}: {statistics.median(at_once):.1f} s, {len(QUERIES)} {name}s: "
                f"{statistics.median(one_by_one):.1f} s, ratio {statistics.median(ratios):.1f} "
                f"({min(ratios):.1f} to {max(ratios):.1f}), same boxes: {'yes' if same else 'no'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
