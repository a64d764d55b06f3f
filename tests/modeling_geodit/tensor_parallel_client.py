# SPDX-License-Identifier: Apache-2.0
"""What `test_tensor_parallel.py` runs in two processes: a checkpoint sharded between them, compared with the whole.

Arguments: the checkpoints, and the file that process 0 writes what came of each to.
"""

import json
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from transformers import DistributedConfig

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion


def main(checkpoints: list[str], output: Path) -> None:
    outcome = {}
    for checkpoint in checkpoints:
        whole = GeoDiTForMaskedDiffusion.from_pretrained(checkpoint)
        config = DistributedConfig(tp_size=2)
        sharded = GeoDiTForMaskedDiffusion.from_pretrained(checkpoint, distributed_config=config)
        image = [whole.config.image_token_id] * whole.config.num_image_tokens
        input_ids = torch.tensor([[*image, 5, 6, 7, *[whole.config.mask_token_id] * 4]])
        size = whole.config.vision_config.image_size
        pixel_values = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        inputs = {"input_ids": input_ids, "pixel_values": pixel_values}
        with torch.no_grad():
            difference = (sharded(**inputs).logits - whole(**inputs).logits).abs().max()
        prompt = {**inputs, "input_ids": input_ids[:, :-4], "max_new_tokens": 4}
        full = dict(whole.named_parameters())
        outcome[checkpoint] = {
            "difference": difference.item(),
            "same_answer": bool(torch.equal(sharded.generate(**prompt), whole.generate(**prompt))),
            "smaller": [
                name
                for name, parameter in sharded.named_parameters()
                if (parameter.to_local() if isinstance(parameter, DTensor) else parameter).numel() < full[name].numel()
            ],
        }
    if torch.distributed.get_rank() == 0:
        output.write_text(json.dumps(outcome))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:-1], Path(sys.argv[-1]))
