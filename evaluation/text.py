# SPDX-License-Identifier: Apache-2.0
"""How text is normalised before it is compared."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["normalize_answer", "tokenize_caption"]

# Letters and digits, joined by one mark inside a word: two-storey, ship's, 3.5, 1,000, cars/trucks.
_WORD = re.compile(r"\w+(?:[-'.,/]\w+)*")


def tokenize_caption(text: str) -> str:
    """Lower-case a caption and drop its punctuation.

    The reference implementation of CIDEr and BLEU runs Stanford's PTB tokenizer, which needs Java; this does
    not. The two agree on plain sentences, which is what the captions of remote sensing data sets are. They
    differ where PTB splits contractions and possessives (`ship's` becomes `ship 's`), keeps the full stop of
    an abbreviation (`st.`), and keeps symbols and brackets as words (`%`, `-lrb-`).

    Args:
        text: A caption.

    Returns:
        Its words, separated by single spaces.
    """
    return " ".join(_WORD.findall(_fold(text)))


def normalize_answer(text: str) -> str:
    """Normalise a short answer for exact match: case, punctuation, underscores and spacing do not matter.

    Unlike VQA's script this keeps articles and does not turn number words into digits: both change what
    counts as right.

    Args:
        text: An answer, e.g. `" Storage_tanks."`.

    Returns:
        The answer to compare, e.g. `"storage tanks"`.
    """
    return tokenize_caption(text.replace("_", " "))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
