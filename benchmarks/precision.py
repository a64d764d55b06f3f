# SPDX-License-Identifier: Apache-2.0
"""What bfloat16, a compiled step and quantized weights do to the answers of a checkpoint, on scenes not trained on.

    python benchmarks/precision.py --scenes 200

Every scheme answers the questions that float32 answers, with the same settings. Printed are the size of the saved
weights, the share of answers that stay the same to the last token, and the figures of each task.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchao.quantization import (
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    PerGroup,
)
from transformers import TorchAoConfig

import geodit
from geodit.configuration.decoding_options import DecodingOptions
from geodit.evaluation.evaluate import evaluate_model
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.tiny.scenes.dataset import synthetic_dataset
from geodit.trainers.runs.quantization import WHOLE_PRECISION


@dataclass(frozen=True)
class Scheme:
    """How a checkpoint is loaded and run."""

    dtype: torch.dtype = torch.float32
    quantization: Any = None
    compile_step: bool = False


SCHEMES = {
    "float32": Scheme(),
    "bfloat16": Scheme(dtype=torch.bfloat16),
    "float32, compiled step": Scheme(compile_step=True),
    "int8 weights": Scheme(quantization=Int8WeightOnlyConfig()),
    "int8 weights, dynamic int8 activations": Scheme(quantization=Int8DynamicActivationInt8WeightConfig()),
    "int4 weights, groups of 16": Scheme(
        quantization=IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(16))
    ),
}


def main() -> None:
    """Print one JSON document per scheme."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=geodit.bundled_checkpoint(), help="Folder or Hub id of a checkpoint.")
    parser.add_argument("--scenes", type=int, default=200, help="Synthetic test scenes.")
    parser.add_argument("--schemes", nargs="+", choices=list(SCHEMES), default=list(SCHEMES), help="Beside float32.")
    options = parser.parse_args()
    processor = GeoDiTProcessor.from_pretrained(options.model)
    dataset = synthetic_dataset(options.scenes, seed=0, split="test")
    texts: list[str] = []
    for name in dict.fromkeys(["float32", *options.schemes]):
        scheme = SCHEMES[name]
        quantization = None
        if scheme.quantization is not None:
            quantization = TorchAoConfig(scheme.quantization, modules_to_not_convert=list(WHOLE_PRECISION))
        model = GeoDiTForMaskedDiffusion.from_pretrained(
            options.model, dtype=scheme.dtype, quantization_config=quantization
        ).eval()
        model.generation_config.compile_step = scheme.compile_step
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            size = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
        # A compiled step has one shape: alone, a question is compiled for its canvas length and never again.
        batch_size = 1 if scheme.compile_step else 64
        result = evaluate_model(model, processor, dataset, DecodingOptions(), batch_size=batch_size)
        answers = [answer.text for answer in result.answers]
        texts = texts or answers
        print(
            json.dumps(
                {
                    "scheme": name,
                    "weights_mb": round(size / 1e6, 2),
                    "same_answers": sum(map(str.__eq__, texts, answers)) / len(texts),
                    "num_answers": len(texts),
                    "figures": result.figures,
                },
                default=str,
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
