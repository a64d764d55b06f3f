# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from geodit.evaluation.caption_tokens import has_java, tokenize_captions
from geodit.evaluation.metrics import CaptioningMetric, captioning
from geodit.evaluation.metrics.captioning import judge_captions
from geodit.evaluation.metrics.meteor import MeteorProgram

needs_java = pytest.mark.skipif(not has_java(), reason="METEOR and Stanford's tokenizer need Java")

CAPTIONS = ["two ships in the open water", "a large farm with green fields", "many planes are parked here"]
REFERENCES = [
    ["two ships in the water", "there are two ships in open water"],
    ["a farm with many green fields"],
    ["some planes are parked near a terminal", "many planes are parked", "planes on an airport"],
]


def score(captions, references, parsed=None, **options):
    flags = [True] * len(captions) if parsed is None else parsed
    predictions = [{"text": text, "parsed": flag} for text, flag in zip(captions, flags, strict=True)]
    return CaptioningMetric().compute(predictions=predictions, references=references, **options)


def test_scores_are_those_of_pycocoevalcap():
    truths, answers = dict(enumerate(REFERENCES)), {i: [caption] for i, caption in enumerate(CAPTIONS)}
    cider, _ = Cider().compute_score(truths, answers)
    bleu, _ = Bleu(4).compute_score(truths, answers, verbose=0)
    rouge, _ = Rouge().compute_score(truths, answers)
    result = score(CAPTIONS, REFERENCES)
    assert result["cider"] == pytest.approx(cider, rel=1e-12)
    assert [result[f"bleu{n}"] for n in (1, 2, 3, 4)] == pytest.approx(bleu, rel=1e-12)
    assert result["rouge_l"] == pytest.approx(rouge, rel=1e-12)
    assert 0 < result["bleu4"] < result["bleu1"] < 1


def test_the_references_themselves_reach_the_top():
    same = [references[:1] for references in REFERENCES]
    result = score([references[0] for references in same], same)
    assert result["cider"] == pytest.approx(10)
    assert result["bleu4"] == pytest.approx(1)


def test_case_and_punctuation_do_not_matter():
    loud = [caption.upper() + "." for caption in CAPTIONS]
    assert score(loud, REFERENCES) == score(CAPTIONS, REFERENCES)


def test_an_unparsed_caption_scores_as_an_empty_one():
    unparsed = score(CAPTIONS, REFERENCES, parsed=[True, False, True])
    empty = score([CAPTIONS[0], "", CAPTIONS[2]], REFERENCES)
    assert unparsed["cider"] == empty["cider"] < score(CAPTIONS, REFERENCES)["cider"]
    assert unparsed["bleu4"] == empty["bleu4"] < score(CAPTIONS, REFERENCES)["bleu4"]
    assert unparsed["parse_rate"] == pytest.approx(2 / 3)


def test_nothing_but_empty_captions():
    result = score(["", ""], REFERENCES[:2])
    assert (result["cider"], result["bleu4"]) == (0, pytest.approx(0))


def test_the_scorers_print_nothing(capsys):
    score(CAPTIONS, REFERENCES)
    assert capsys.readouterr().out == ""


def test_intervals_contain_the_figures():
    result = score(CAPTIONS * 5, REFERENCES * 5, bootstrap=50)
    for name in ("cider", "bleu4"):
        low, high = result["confidence_intervals"][name]
        assert low < result[name] < high


def test_an_image_without_a_reference_is_refused():
    with pytest.raises(ValueError, match="sample 1 has no reference"):
        score(CAPTIONS[:2], [REFERENCES[0], []])


words = st.lists(st.sampled_from(["two", "ships", "in", "the", "open", "water", "a", "field"]), max_size=7).map(
    " ".join
)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3)), min_size=1, max_size=5), st.data())
def test_bleu_of_any_choice_of_captions_is_that_of_the_library(samples, data):
    drawn = data.draw(st.lists(st.integers(0, len(samples) - 1), min_size=1, max_size=6))
    captions, references = map(list, zip(*samples, strict=True))
    with judge_captions([{"text": text, "parsed": True} for text in captions], references) as scored:
        figures = scored.figures(np.asarray(drawn))
    bleu, _ = Bleu(4).compute_score(
        {n: references[i] for n, i in enumerate(drawn)}, {n: [captions[i]] for n, i in enumerate(drawn)}, verbose=0
    )
    assert [figures[f"bleu{n}"] for n in (1, 2, 3, 4)] == pytest.approx(bleu, rel=1e-9, abs=1e-12)


def test_both_ciders_by_hand():
    # Two images, each with one reference of two words, of one image each: every n-gram weighs log 2. The first
    # caption has one word twice. Counts of words: (2, 0) and (1, 1), whose cosine is 2 / (2 sqrt 2); of pairs: none is
    # shared; longer n-grams: there are none. The mean over four lengths, times 10.
    result = score(["ship ship", "field"], [["ship water"], ["green field"]])
    first = 10 / 4 * (2 / (2 * 2**0.5))
    second = 10 / 4 * (1 / 2**0.5)
    assert result["cider_original"] == pytest.approx((first + second) / 2)
    # Clipped at the count of the reference, "ship" counts once: 1 / (2 sqrt 2). The length that the penalty compares
    # is the number of pairs: 1 and 1, but 0 and 1 of the second.
    clipped, shorter = 10 / 4 * (1 / (2 * 2**0.5)), second * np.exp(-1 / (2 * 6**2))
    assert result["cider"] == pytest.approx((clipped + shorter) / 2)


def test_cider_does_not_grow_with_repetition_as_the_original_does():
    loops = ["two ships two ships two ships two ships", *CAPTIONS[1:]]
    once = score(["two ships", *CAPTIONS[1:]], REFERENCES)
    assert score(loops, REFERENCES)["cider"] < once["cider"]
    assert once["cider_original"] > once["cider"]


def test_captions_that_are_right_and_those_that_miscount():
    captions = ["Two ships in the water.", "3 farms with green fields", "a plane", "", "four cars"]
    references = [["two ships in the water"], ["two farms with green fields"], ["planes"], ["none"], ["four vans"]]
    result = score(captions, references)
    assert result["exact_match"] == pytest.approx(1 / 5)
    assert result["exact_match_apart_from_counts"] == pytest.approx(3 / 5)
    assert score(captions, references, parsed=[False] * 5)["exact_match_apart_from_counts"] == 0


APOSTROPHES = [
    "A ship's wake isn't white, it's gray.",
    "the St. Louis airport (two runways) has 50% cloud cover",
    "cars/trucks \u2013 3.5 m long; 1,000 of them",
    "",
    "two-storey houses",
    "\u4e2d caf\u00e9",
]


@needs_java
def test_the_tokenizer_with_java_is_that_of_pycocoevalcap():
    ascii_only = [caption for caption in APOSTROPHES if caption.isascii()]
    expected = PTBTokenizer().tokenize({n: [{"caption": caption}] for n, caption in enumerate(ascii_only)})
    assert tokenize_captions(ascii_only, "ptb") == [expected[n][0] for n in range(len(ascii_only))]
    assert tokenize_captions([], "ptb") == []


@needs_java
def test_the_two_tokenizers_differ_in_contractions_abbreviations_and_symbols():
    plain, ptb = (tokenize_captions(APOSTROPHES, name) for name in ("plain", "ptb"))
    assert (plain[0], ptb[0]) == ("a ship's wake isn't white it's gray", "a ship 's wake is n't white it 's gray")
    assert plain[1] == "the st louis airport two runways has 50 cloud cover"
    # The library drops brackets in capitals, "-LRB-", but has lower-cased them before.
    assert ptb[1] == "the st. louis airport -lrb- two runways -rrb- has 50 % cloud cover"
    assert plain[3] == ptb[3] == ""
    assert plain[4] == ptb[4] == "two-storey houses"
    assert ptb[5] == plain[5] == "\u4e2d caf\u00e9"


@needs_java
def test_line_ends_in_a_caption_do_not_shift_the_others():
    odd = ["one\ntwo", "three\u2028four\x0bfive", "six\r\nseven\x85eight", "nine"]
    assert tokenize_captions(odd, "ptb") == ["one two", "three four five", "six seven eight", "nine"]


@needs_java
def test_captions_can_be_scored_with_javas_tokenizer():
    captions, references = ["the ship's wake", "a field"], [["a ship's wake"], ["a field"]]
    plain, ptb = (score(captions, references, tokenizer=name) for name in ("plain", "ptb"))
    assert (plain["tokenizer"], ptb["tokenizer"]) == ("plain", "ptb")
    assert ptb["bleu1"] == pytest.approx(5 / 6), "of the, ship, 's, wake, a, field"
    assert plain["bleu1"] == pytest.approx(4 / 5)


def test_an_unknown_tokenizer_is_named():
    with pytest.raises(ValueError, match="unknown tokenizer 'moses'; the tokenizers are plain, ptb"):
        score(CAPTIONS, REFERENCES, tokenizer="moses")


def test_without_java_there_is_no_meteor(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert not has_java()
    assert "meteor" not in score(CAPTIONS, REFERENCES)
    with pytest.raises(FileNotFoundError, match="METEOR needs Java, but there is no command 'java'"):
        score(CAPTIONS, REFERENCES, meteor=True)
    with pytest.raises(FileNotFoundError, match="the tokenizer 'ptb' needs Java"):
        score(CAPTIONS, REFERENCES, tokenizer="ptb")


@needs_java
def test_meteor_is_that_of_pycocoevalcap(monkeypatch):
    captions = [*CAPTIONS, ""]
    references = [*REFERENCES, ["a farm ||| or not"]]
    expected = []

    class Asked(MeteorProgram):
        """Asks the library before the program ends: it takes long to start."""

        def __exit__(self, *error):
            score, _ = self._meteor.compute_score(
                {n: [text.replace("|||", "") for text in of] for n, of in enumerate(references)},
                {n: [text] for n, text in enumerate(captions)},
            )
            expected.append(score)
            super().__exit__(*error)

    monkeypatch.setattr(captioning, "MeteorProgram", Asked)
    result = score(captions, references, meteor=True, bootstrap=30)
    assert [result["meteor"]] == pytest.approx(expected, abs=1e-12)
    low, high = result["confidence_intervals"]["meteor"]
    assert 0 <= low < result["meteor"] < high <= 1
