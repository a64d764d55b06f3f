# SPDX-License-Identifier: Apache-2.0
"""Assembles, loads and runs a model of LLaDA-8B's size with random weights, and measures time and memory.

    python benchmarks/assemble_8b.py --work-dir /tmp

It makes the sources shard by shard (18 GB), assembles them (17 GB more), loads the result, runs one forward pass of a
caption prompt, prints the figures as JSON, and removes all it made. It needs 40 GB of disk and 20 GB of memory.

Memory is that of the whole process, sampled: `anonymous` is what it holds itself, `resident` counts the pages of
mapped files as well, which the system can take back at any time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, SiglipVisionConfig, SiglipVisionModel

from geodit.configuration.configuration_geodit import GeoDiTConfig, GeoDiTTextConfig
from geodit.weights.checkpoint_writer import PlannedTensor, write_checkpoint
from geodit.weights.conversion_llada import geodit_to_llada_name, llada_config_of, text_state_shapes

# The special tokens of LLaDA-8B by their ids; those between them are reserved.
SPECIAL_TOKENS = {
    126080: "<|startoftext|>",
    126081: "<|endoftext|>",
    126336: "<|mdm_mask|>",
    126346: "<|start_header_id|>",
    126347: "<|end_header_id|>",
    126348: "<|eot_id|>",
}
NUM_TOKENS = 126349

LOAD_AND_RUN = """
import json, sys, time
import torch
from PIL import Image
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor

def report(**figures):
    print(json.dumps(figures), flush=True)

start = time.perf_counter()
model = GeoDiTForMaskedDiffusion.from_pretrained(sys.argv[1], dtype="auto", device_map="cpu").eval()
report(load_seconds=round(time.perf_counter() - start, 1))
sys.stdin.readline()
processor = GeoDiTProcessor.from_pretrained(sys.argv[1])
inputs = processor(images=Image.new("RGB", (500, 400)), task="caption", return_tensors="pt")
canvas = torch.full((1, processor.canvas_length("caption")), model.config.mask_token_id)
inputs["input_ids"] = torch.cat([inputs["input_ids"], canvas], dim=1)
inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
start = time.perf_counter()
with torch.inference_mode():
    logits = model(**inputs, logits_to_keep=canvas.shape[1]).logits
report(
    forward_seconds=round(time.perf_counter() - start, 1),
    tokens=inputs["input_ids"].shape[1],
    logits=list(logits.shape),
    finite=bool(torch.isfinite(logits).all()),
)
"""


class MemoryMonitor:
    """Samples the memory of a process every 20 ms until it is left.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        self.peak_anonymous = 0
        self.peak_resident = 0
        self._path = Path(f"/proc/{pid}/status")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def _sample(self) -> None:
        while not self._stop.wait(0.02):
            try:
                lines = self._path.read_text().splitlines()
            except OSError:
                return
            sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
            if "VmRSS" in sizes:
                self.peak_resident = max(self.peak_resident, sizes["VmRSS"] * 1024)
                self.peak_anonymous = max(self.peak_anonymous, (sizes["RssAnon"] + sizes["RssShmem"]) * 1024)

    def __enter__(self) -> "MemoryMonitor":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()


def make_text_core(folder: Path, text_config: GeoDiTTextConfig) -> int:
    """Random weights in LLaDA's layout, bfloat16, and a tokenizer with LLaDA's ids. Returns the parameters."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)

    def blocks(shape: tuple[int, ...]) -> Iterator[torch.Tensor]:
        if len(shape) == 1:
            yield torch.ones(shape)
            return
        rows = max(1, 2**24 // shape[1])
        for start in range(0, shape[0], rows):
            size = (min(rows, shape[0] - start), shape[1])
            yield torch.empty(size, dtype=torch.bfloat16).normal_(0.0, 0.02, generator=generator)

    tensors = {
        geodit_to_llada_name(name): PlannedTensor(shape, torch.bfloat16, lambda shape=shape: blocks(shape))
        for name, shape in text_state_shapes(text_config).items()
    }
    write_checkpoint(folder, tensors)
    (folder / "config.json").write_text(json.dumps(llada_config_of(text_config, mask_token_id=126336)))
    make_tokenizer().save_pretrained(folder)
    return sum(torch.Size(tensor.shape).numel() for tensor in tensors.values())


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, and LLaDA's special tokens at their places."""
    vocabulary = {byte: index for index, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for index in range(len(vocabulary), NUM_TOKENS):
        vocabulary[SPECIAL_TOKENS.get(index, f"<|reserved_{index}|>")] = index
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS.values()])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )


def measured(command: list[str]) -> dict[str, float]:
    """Run a command to its end and say how long it took and what memory it needed."""
    start = time.perf_counter()
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as process,
        MemoryMonitor(process.pid) as memory,
    ):
        process.wait()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed")
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_anonymous_gb": round(memory.peak_anonymous / 1e9, 2),
        "peak_resident_gb": round(memory.peak_resident / 1e9, 2),
    }


def load_and_run(folder: Path, weights_bytes: int) -> dict[str, object]:
    """Load a checkpoint in a process of its own, measure that, and run a forward pass."""
    command = [sys.executable, "-c", LOAD_AND_RUN, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with MemoryMonitor(process.pid) as loading:
            loaded = json.loads(process.stdout.readline())
        # Weights that are mapped come into memory when they are used first.
        with MemoryMonitor(process.pid) as running:
            process.stdin.write("\n")
            process.stdin.flush()
            ran = json.loads(process.stdout.readline())
    figures = {**loaded, **ran}
    for name, memory in (("load", loading), ("forward", running)):
        figures[f"{name}_peak_anonymous_gb"] = round(memory.peak_anonymous / 1e9, 2)
        figures[f"{name}_peak_resident_gb"] = round(memory.peak_resident / 1e9, 2)
        figures[f"{name}_peak_resident_to_weights"] = round(memory.peak_resident / weights_bytes, 3)
    return figures


def main() -> None:
    """Make the sources, assemble, load, run, print, clean up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work-dir", type=Path, default=None, help="Where 35 GB fit; the system's own by default.")
    parser.add_argument("--layers", type=int, default=32, help="Layers of the text core, to try the script out.")
    parser.add_argument("--vision-layers", type=int, default=27, help="Layers of the tower, likewise.")
    options = parser.parse_args()
    text_config = GeoDiTTextConfig(num_hidden_layers=options.layers)
    vision_config: SiglipVisionConfig = GeoDiTConfig().vision_config
    vision_config.num_hidden_layers = options.vision_layers

    with tempfile.TemporaryDirectory(dir=options.work_dir, prefix="geodit-8b-") as temporary:
        work = Path(temporary)
        start = time.perf_counter()
        num_text_parameters = make_text_core(work / "llada", text_config)
        SiglipVisionModel(vision_config).save_pretrained(work / "siglip")
        figures: dict[str, object] = {
            "text_core_parameters": num_text_parameters,
            "make_seconds": round(time.perf_counter() - start, 1),
        }
        print(json.dumps(figures), flush=True)
        command = [sys.executable, "-m", "geodit.cli", "assemble", "--text", str(work / "llada")]
        command += ["--vision", str(work / "siglip"), "--location-bins", "100", "-o", str(work / "geodit")]
        figures["assemble"] = measured(command)
        print(json.dumps(figures), flush=True)
        report = json.loads((work / "geodit" / "assembly.json").read_text())
        figures["parameters"], figures["weights_gb"] = report["num_parameters"], round(report["num_bytes"] / 1e9, 2)
        # Read from memory, the sources would make loading look faster than it is, and leave it less room.
        for folder in ("llada", "siglip"):
            for path in (work / folder).iterdir():
                path.unlink()
        figures["run"] = load_and_run(work / "geodit", report["num_bytes"])
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
