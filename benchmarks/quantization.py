# SPDX-License-Identifier: Apache-2.0
"""What quantized weights do to the answers of a checkpoint, on scenes that it was not trained on.

    python benchmarks/quantization.py --scenes 200

Every scheme answers the questions that the unquantized weights answer, with the same settings. Printed are the size of
the saved weights, the share of answers that stay the same to the last token, and the figures of each task.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from torchao.quantization import (
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    PerGroup,
)
from transformers import TorchAoConfig

import geodit
from geodit.data.synthetic.dataset import synthetic_dataset
from geodit.evaluation.benchmark import run_benchmark
from geodit.evaluation.settings import DecodingSettings
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor

SCHEMES = {
    "as saved": None,
    "int8 weights": Int8WeightOnlyConfig(),
    "int8 weights, dynamic int8 activations": Int8DynamicActivationInt8WeightConfig(),
    "int4 weights, groups of 16": IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(16)),
}
WHOLE_PRECISION = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]


def main() -> None:
    """Prints a JSON document a scheme."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=geodit.bundled_checkpoint(), help="Folder or Hub id of a checkpoint.")
    parser.add_argument("--scenes", type=int, default=200, help="Synthetic test scenes.")
    options = parser.parse_args()
    processor = GeoDiTProcessor.from_pretrained(options.model)
    dataset = synthetic_dataset(options.scenes, seed=0, split="test")
    texts: list[str] = []
    for name, scheme in SCHEMES.items():
        quantization = None
        if scheme is not None:
            quantization = TorchAoConfig(scheme, modules_to_not_convert=WHOLE_PRECISION)
        model = GeoDiTForMaskedDiffusion.from_pretrained(
            options.model, dtype=torch.float32, quantization_config=quantization
        ).eval()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            size = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
        result = run_benchmark(model, processor, dataset, DecodingSettings(), batch_size=64)
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
