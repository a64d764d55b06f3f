# SPDX-License-Identifier: Apache-2.0
"""Rules of when two short answers, or two class names, are the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from types import MappingProxyType

from geodit.data.readers.rsvqa import count_range
from geodit.evaluation.text import normalize_answer

__all__ = ["ANSWER_RULES", "AnswerRule", "canonical_words", "get_answer_rule", "lenient_answer"]

AnswerRule = Callable[[str], str]
"""Function of an answer to the form in which it is compared; two answers are the same if their forms are equal."""

_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SMALL: Mapping[str, int] = MappingProxyType(
    {word: number for number, word in enumerate(_UNITS)}
    | {word: 10 * number for number, word in enumerate(_TENS, start=2)}
)
_ARTICLES = frozenset({"a", "an", "the"})
_IRREGULAR: Mapping[str, str] = MappingProxyType({"people": "person", "men": "man", "women": "woman"})
# "yes, there is": what follows a mark, or a clause that says the same again; but "No. 5" is a number.
_YES_NO = re.compile(
    r"(yes|no)\s*(?:[,;!]|[.:](?!\s*(?:\d|of\b))\s|-\s|\s(?=(?:there|it|they|this|that|these|those)\b)).*", re.DOTALL
)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)
_MINUS = ("-", "\u2212")
_AREA = re.compile(r"(\d+) ?m2", re.ASCII)


def lenient_answer(text: str) -> str:
    """Return the form of an answer in which wording does not matter.

    On top of [`~geodit.evaluation.text.normalize_answer`]: number words and `none` become digits, commas between
    thousands, articles and plural endings are dropped, hyphens are spaces as underscores are, and of a sentence such
    as `"Yes, there is."` the first word stays. The form is for comparison, not for reading: it cuts some words that
    only look like plurals, in both answers alike.

    Args:
        text: An answer or a class name, e.g. `"the storage-tanks"`.

    Returns:
        The answer to compare, e.g. `"storage tank"`.
    """
    folded = unicodedata.normalize("NFKC", text).strip().lower()
    confirmed = _YES_NO.fullmatch(folded)
    if confirmed is not None:
        return confirmed[1]
    return " ".join(canonical_words(folded)) or normalize_answer(text)


def canonical_words(text: str) -> list[str]:
    """Return the words of a text without articles, in the singular, with numbers as digits."""
    text = _THOUSANDS.sub(_without_commas, text)
    words = [word for word in normalize_answer(text).replace("-", " ").split() if word not in _ARTICLES]
    return [word if word.isdecimal() else _singular(word) for word in _digits(words)]


def _without_commas(number: re.Match[str]) -> str:
    return number[0].replace(",", "")


def _digits(words: list[str]) -> list[str]:
    """Put digits for each run of number words: `twenty one`, `two hundred and three`."""
    found: list[str] = []
    place = 0
    while place < len(words):
        if words[place] == "none":
            found.append("0")
            place += 1
            continue
        end, number = _read_number(words, place)
        found.append(words[place] if end == place else str(number))
        place = max(end, place + 1)
    return found


def _read_number(words: list[str], place: int) -> tuple[int, int]:
    """Read a number in words; return where it ends and the number, or the place itself if there is none."""
    total = current = 0
    # What may follow: after "twenty" a unit from one to nine, after "two" or "twenty" no other small number.
    room = 100
    end = place
    while end < len(words):
        word = words[end]
        if word in _SMALL and _SMALL[word] < room and (_SMALL[word] or end == place):
            current += _SMALL[word]
            room = 10 if _SMALL[word] >= 20 else 0
        elif word == "hundred" and 0 < current < 10:
            current, room = current * 100, 100
        elif word == "thousand" and 0 < current < 1000 and not total:
            total, current, room = current * 1000, 0, 100
        elif word == "and" and end > place and room == 100 and end + 1 < len(words) and words[end + 1] in _SMALL:
            pass
        else:
            break
        end += 1
    return end, total + current


def _singular(word: str) -> str:
    word = _IRREGULAR.get(word, word)
    if len(word) <= 3 or not word.isalpha():
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    # An "e" after these may belong to the ending: "buses" is then as "bus", and "houses" as "house".
    return word[:-1] if len(word) > 3 and word.endswith(("se", "xe", "ze", "che", "she", "oe")) else word


def _rsvqa_hr(text: str) -> str:
    answer = _THOUSANDS.sub(_without_commas, normalize_answer(text))
    area = _AREA.fullmatch(answer)
    if text.strip().startswith(_MINUS) and (area is not None or _NUMBER.fullmatch(answer)):
        return f"-{answer}"
    return answer if area is None else normalize_answer(count_range(_bounded(area[1]), "m2"))


def _rsvqa_lr(text: str) -> str:
    answer = _rsvqa_hr(text)
    return normalize_answer(count_range(_bounded(answer))) if _NUMBER.fullmatch(answer) else answer


def _bounded(digits: str) -> int:
    """Return a number; of a huge one the first digits, which are in the same range, as Python refuses thousands."""
    return int(digits.lstrip("0")[:5] or "0")


ANSWER_RULES: Mapping[str, AnswerRule] = MappingProxyType(
    {"strict": normalize_answer, "lenient": lenient_answer, "rsvqa_lr": _rsvqa_lr, "rsvqa_hr": _rsvqa_hr}
)
"""The rules by name.

`strict` is [`~geodit.evaluation.text.normalize_answer`], `lenient` is [`lenient_answer`]. `rsvqa_lr` and `rsvqa_hr`
are strict but for numbers, which stand for the range that they fall into: 0, 1 to 10, 11 to 100, 101 to 1000 or above
1000. Areas such as `35m2` do so under both, counts under `rsvqa_lr`. Commas between thousands do not matter to them,
and a number below 0 is in no range.

Source of the ranges: `VQA_model/VocabEncoder.py` of github.com/syvlo/RSVQA, with `range_numbers` at low resolution.
"""


def get_answer_rule(name: str) -> AnswerRule:
    """Look up a rule by its name.

    Raises:
        ValueError: If there is none of that name; the message lists those there are.
    """
    if name not in ANSWER_RULES:
        raise ValueError(f"unknown answer rule {name!r}; the rules are {', '.join(ANSWER_RULES)}")
    return ANSWER_RULES[name]
