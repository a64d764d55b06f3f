# SPDX-License-Identifier: Apache-2.0
"""How captions are cut into words, with and without Java."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from geodit.evaluation.optional import import_optional
from geodit.evaluation.text import tokenize_caption

__all__ = ["TOKENIZERS", "check_tokenizer", "has_java", "java_command", "tokenize_captions"]

TOKENIZERS = ("plain", "ptb")
"""`plain` is [`~geodit.evaluation.text.tokenize_caption`], `ptb` Stanford's tokenizer, which needs Java."""


def has_java() -> bool:
    """Return whether there is a Java to run METEOR and Stanford's tokenizer with."""
    return shutil.which("java") is not None


def java_command(what: str) -> str:
    """Return the path of the `java` command.

    Args:
        what: What needs it, for the message.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = shutil.which("java")
    if path is None:
        raise FileNotFoundError(f"{what} needs Java, but there is no command 'java'; install a Java runtime")
    return path


def check_tokenizer(name: str) -> None:
    """Check that there is a tokenizer of a name, and what it needs.

    Raises:
        ValueError: If there is none; the message lists those there are.
        FileNotFoundError: If it needs Java, and there is none.
    """
    if name not in TOKENIZERS:
        raise ValueError(f"unknown tokenizer {name!r}; the tokenizers are {', '.join(TOKENIZERS)}")
    if name == "ptb":
        java_command("the tokenizer 'ptb'")


def tokenize_captions(captions: Sequence[str], tokenizer: str = "plain") -> list[str]:
    """Cut captions into words, lower-cased and without punctuation.

    Args:
        captions: Any number.
        tokenizer: One of `TOKENIZERS`. `"ptb"` gives what `pycocoevalcap.tokenizer.ptbtokenizer` does, by the same
            program; that class writes a file into the folder of its package, and reads it in the encoding of the
            system's language.

    Returns:
        The words of each caption, separated by single spaces.

    Raises:
        ValueError: If the tokenizer is unknown.
        FileNotFoundError: If it needs Java, and there is none.
        RuntimeError: If Java fails.
    """
    check_tokenizer(tokenizer)
    if tokenizer == "plain":
        return [tokenize_caption(caption) for caption in captions]
    if not captions:
        return []
    library = import_optional("pycocoevalcap.tokenizer.ptbtokenizer")
    jar = Path(str(library.__file__)).with_name(library.STANFORD_CORENLP_3_4_1_JAR)
    command = [java_command("the tokenizer 'ptb'"), "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    # One caption per line, as anything that ends a line would divide one.
    lines = "\n".join(" ".join(caption.split()) for caption in captions)
    process = subprocess.run(
        [*command, "-preserveLines", "-lowerCase", "-encoding", "UTF-8"],
        input=lines.encode("utf-8", errors="replace"),
        capture_output=True,
        check=False,
    )
    tokenized = process.stdout.decode("utf-8", errors="replace").split("\n")[: len(captions)]
    if process.returncode or len(tokenized) != len(captions):
        reason = process.stderr.decode("utf-8", errors="replace").strip()
        raise RuntimeError(f"Stanford's tokenizer failed on {len(captions)} captions: {reason[-500:]}")
    punctuation = frozenset(library.PUNCTUATIONS)
    return [" ".join(word for word in line.split(" ") if word and word not in punctuation) for line in tokenized]
