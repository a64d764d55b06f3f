# SPDX-License-Identifier: Apache-2.0
"""Answers a second of vLLM beside those of GeoDiT's own loop, on the same questions in one process.

Without a GPU, vLLM's kernels run in Triton's interpreter, which a server never does. The time spent in it is measured
and reported apart.

    export TRITON_INTERPRET=1 VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1
    PYTHONPATH=vllm_plugin/tests/triton_on_cpu .venv-vllm/bin/python vllm_plugin/benchmarks/throughput.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from triton.runtime import interpreter
from vllm import LLM, SamplingParams

import geodit
from geodit import GeoDiTForMaskedDiffusion, GeoDiTPipeline, GeoDiTProcessor
from geodit.tiny.scenes.rendering import render_scene
from geodit.tiny.scenes.scene import sample_scene

QUERIES = ("ship", "tree", "building", "vehicle")


class Interpreter:
    """Measures the seconds spent in Triton's interpreter."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count what is launched in the block."""
        launch = interpreter.GridExecutor.__call__

        def timed(executor: interpreter.GridExecutor, *args: object, **kwargs: object) -> object:
            start = time.perf_counter()
            try:
                return launch(executor, *args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        interpreter.GridExecutor.__call__ = timed
        try:
            yield
        finally:
            interpreter.GridExecutor.__call__ = launch


def main() -> None:
    """Ask the same questions of both, several times in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(geodit.bundled_checkpoint()))
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=16, help="questions at once, of either")
    parser.add_argument("--per-image", type=int, default=1, help="questions about each image")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--prefix-caching", action="store_true", help="let questions share the image's keys and values"
    )
    options = parser.parse_args()

    images = [
        Image.fromarray(render_scene(sample_scene(seed, 96)))
        for seed in range(-(-options.questions // options.per_image))
    ]
    asked = [(images[n // options.per_image], QUERIES[n % len(QUERIES)]) for n in range(options.questions)]
    model = GeoDiTForMaskedDiffusion.from_pretrained(options.model, dtype=torch.float32)
    pipeline = GeoDiTPipeline(model, GeoDiTProcessor.from_pretrained(options.model), device="cpu")
    engine = LLM(
        options.model,
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        max_num_seqs=options.batch_size,
        block_size=32,
        enable_prefix_caching=options.prefix_caching,
    )

    def by_pipeline() -> list[str]:
        texts = []
        for query in QUERIES:
            some = [image for image, other in asked if other == query]
            texts += [one.text for one in pipeline(some, task="detect", query=query, batch_size=options.batch_size)]
        return sorted(texts)

    def by_vllm() -> list[str]:
        prompts = [
            {"prompt_token_ids": [model.config.image_token_id], "multi_modal_data": {"image": i}} for i, _ in asked
        ]
        params = [SamplingParams(extra_args={"task": "detect", "query": query}) for _, query in asked]
        engine.reset_prefix_cache()
        engine.reset_mm_cache()
        return sorted(output.outputs[0].text for output in engine.generate(prompts, params, use_tqdm=False))

    assert by_pipeline() == by_vllm()
    own, served, interpreted = [], [], []
    for _ in range(options.repeats):
        start = time.perf_counter()
        by_pipeline()
        own.append(time.perf_counter() - start)
        watch, start = Interpreter(), time.perf_counter()
        with watch.watched():
            by_vllm()
        served.append(time.perf_counter() - start)
        interpreted.append(watch.seconds)
    print(f"{options.questions} questions about {len(images)} images, {options.batch_size} at once,")
    print(f"on {os.cpu_count()} CPUs with {torch.get_num_threads()} threads, medians of {options.repeats}:")
    own_median, served_median = statistics.median(own), statistics.median(served)
    kernels = statistics.median(np.subtract(served, interpreted).tolist())
    for name, seconds in (
        ("GeoDiTPipeline", own_median),
        ("vLLM", served_median),
        ("vLLM without the interpreter", kernels),
    ):
        print(
            f"  {name:30} {seconds:7.2f} s  {options.questions / seconds:7.1f} a second  x {own_median / seconds:.2f}"
        )


if __name__ == "__main__":
    main()
