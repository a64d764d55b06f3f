# SPDX-License-Identifier: Apache-2.0
"""What `test_tensor_parallel.py` runs: checkpoints sharded between two processes, compared with the whole.

The processes are forks of this one, which has imported all that they need. Their environment is that of `torchrun`.

Arguments: the checkpoints, and the file that process 0 writes what came of each to.
"""

import json
import multiprocessing.connection
import os
import socket
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from transformers import DistributedConfig

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion


def compare(rank: int, checkpoints: list[str], output: Path) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
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


def main(checkpoints: list[str], output: Path) -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ.update(WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    start = multiprocessing.get_context("fork").Process
    processes = [start(target=compare, args=(rank, checkpoints, output)) for rank in range(2)]
    for process in processes:
        process.start()
    while running := [process for process in processes if process.is_alive()]:
        multiprocessing.connection.wait([process.sentinel for process in running])
        if any(process.exitcode for process in processes):
            for process in running:
                process.terminate()  # it would wait for the other
    return max(abs(process.exitcode or 0) for process in processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:-1], Path(sys.argv[-1])))
