# SPDX-License-Identifier: Apache-2.0
"""Runs of a small recipe that are killed and started again at random moments, compared with one left alone.

    python tests/support/run_soak.py FOLDER --kills 10 --starts 50 --seed 0

Prints a JSON object. Everything is imported once; each start is a fork, so that it takes a second and not ten.

* `--kills`: a run that SIGKILL hits so many times, resumed by `resume_from_checkpoint=auto` each time, and started
  twice more when it has ended.
* `--starts`: two starts of the same run at a time on one folder, most of them killed, until it has ended, and then in
  another folder, until there were so many.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from geodit.configuration.remote_code_geodit import read_remote_code
from geodit.trainers.runs.recipes import run_recipe
from tiny_models import build_model

RUN = {
    "num_text_scenes": 3,
    "trainable_parts": ["language_model"],
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "learning_rate": 0.01,
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": 3,
    "logging_steps": 1,
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
    "resume_from_checkpoint": "auto",
}
REFUSED = 2
DEADLINE = 120.0


class Start:
    """A run in a process of its own.

    Args:
        action: What it does.
        log: The file that its output is added to.
    """

    def __init__(self, action: Callable[[], None], log: Path) -> None:
        self.began = time.monotonic()
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _run_and_exit(action, log)

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def poll(self) -> int | None:
        """Its exit code, negative for a signal, or `None` while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, seconds: float = DEADLINE) -> int | None:
        """Wait for its end, or for so long."""
        end = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        return self.code

    def kill(self) -> int:
        """End it by SIGKILL, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert self.code is not None
        return self.code


def _run_and_exit(action: Callable[[], None], log: Path) -> None:
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        action()
        code = 0
    except BlockingIOError as error:
        os.write(2, f"{error}\n".encode())
        code = REFUSED
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


class Soak:
    """Runs in folders of one, from one base.

    Args:
        folder: An empty folder.
        updates: Of a run, each with a checkpoint.
        seed: Of the moments.
    """

    def __init__(self, folder: Path, updates: int, seed: int) -> None:
        self.folder = folder
        self.updates = updates
        self.random = random.Random(seed)
        assert Start(self._make_base, folder / "base.log").wait() == 0, (folder / "base.log").read_text()
        alone = self.start("alone")
        assert alone.wait() == 0, (folder / "alone.log").read_text()
        self.seconds = alone.age
        self.expected = self.fingerprint("alone")

    def _make_base(self) -> None:
        torch.manual_seed(0)
        texts = ["Detect: ship.", "Describe the image.", "a harbor with two ships"]
        for part in build_model(text={"attention_dropout": 0.2}, texts=texts):
            part.save_pretrained(self.folder / "base")

    def start(self, name: str) -> Start:
        """Start, or go on with, the run of a name."""
        recipe = self.folder / f"{name}.yaml"
        values = {
            **RUN,
            "max_steps": self.updates,
            "model_name_or_path": str(self.folder / "base"),
            "output_dir": str(self.folder / name),
        }
        recipe.write_text(yaml.safe_dump(values))
        return Start(lambda: run_recipe(str(recipe)), self.folder / f"{name}.log")

    def fingerprint(self, name: str) -> dict[str, str]:
        """Digests of the final weights and of those of the checkpoints."""
        run = self.folder / name
        return {
            str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(run.rglob("model.safetensors"))
        }

    def left(self, name: str) -> list[str]:
        """What lies in a run's folder that an undisturbed run does not leave."""
        undisturbed = {path.name for path in (self.folder / "alone").iterdir()}
        return sorted({path.name for path in (self.folder / name).iterdir()} - undisturbed)

    def kills(self, number: int) -> dict[str, Any]:
        """A run that is killed until it was hit a number of times; a new one whenever it has ended before."""
        codes: Counter[int | None] = Counter()
        rounds = []
        while (rest := number - codes[-signal.SIGKILL]) > 0:
            name = f"killed-{len(rounds) + 1}"
            for _ in range(rest):
                run = self.start(name)
                run.wait(self.random.uniform(0.0, 0.5) * self.seconds)
                codes[run.kill()] += 1
                if run.code != -signal.SIGKILL:
                    break
            codes[self.start(name).wait()] += 1
            before = self.fingerprint(name)
            codes += Counter(self.start(name).wait() for _ in range(2))
            finished = (self.folder / f"{name}.log").read_text().count("Already finished") >= 2
            rounds.append((before == self.fingerprint(name) == self.expected, self.left(name), finished))
        return {
            "killed": codes[-signal.SIGKILL],
            "runs": len(rounds),
            "failed": sum(codes.values()) - codes[-signal.SIGKILL] - codes[0],
            "already_finished": all(finished for _, _, finished in rounds),
            "equal": all(equal for equal, _, _ in rounds),
            "left": sorted({name for _, left, _ in rounds for name in left}),
        }

    def starts(self, number: int) -> dict[str, Any]:
        """Two starts at a time on one folder, a number of them in all; in a new folder whenever the run has ended."""
        codes: Counter[int | None] = Counter()
        rounds = []
        while (rest := number - sum(codes.values())) > 0:
            name = f"shared-{len(rounds) + 1}"
            codes += self._round(name, rest)
            codes[self.start(name).wait()] += 1
            log = (self.folder / f"{name}.log").read_text()
            rounds.append((self.fingerprint(name) == self.expected, self.left(name), log.count("Already finished")))
        return {
            "starts": sum(codes.values()),
            "rounds": len(rounds),
            "ended": codes[0],
            "refused": codes[REFUSED],
            "killed": codes[-signal.SIGKILL],
            "failed": sum(codes.values()) - codes[0] - codes[REFUSED] - codes[-signal.SIGKILL],
            "already_finished": sum(finished for _, _, finished in rounds),
            "equal": all(equal for equal, _, _ in rounds),
            "left": sorted({name for _, left, _ in rounds for name in left}),
        }

    def _round(self, name: str, number: int) -> Counter[int | None]:
        """Starts on one folder until the run has ended or there were a number of them."""
        codes: Counter[int | None] = Counter()
        running: list[tuple[Start, float | None]] = []
        begun = 0
        while running or (begun < number and not codes[0]):
            if begun < number and not codes[0] and len(running) < 2:
                kill_at = self.random.uniform(0.0, 0.5) * self.seconds if self.random.random() < 0.6 else None
                running.append((self.start(name), kill_at))
                begun += 1
            pause = time.monotonic() + self.random.uniform(0.0, 0.3) * self.seconds
            while running and time.monotonic() < pause:
                for pair in list(running):
                    run, moment = pair
                    if moment is not None and run.age > moment:
                        run.kill()
                    if run.poll() is not None:
                        codes[run.code] += 1
                        running.remove(pair)
                    elif run.age > DEADLINE:
                        raise TimeoutError(f"a start has not ended within {DEADLINE} seconds")
                time.sleep(0.005)
        return codes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--starts", type=int, default=0)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    read_remote_code()  # parsed once, for all forks
    arguments.folder.mkdir(parents=True, exist_ok=True)
    soak = Soak(arguments.folder, arguments.updates, arguments.seed)
    result: dict[str, Any] = {"seconds_alone": round(soak.seconds, 2)}
    if arguments.kills:
        result["kills"] = soak.kills(arguments.kills)
    if arguments.starts:
        result["starts"] = soak.starts(arguments.starts)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
