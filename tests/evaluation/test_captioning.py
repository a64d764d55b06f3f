# SPDX-License-Identifier: Apache-2.0
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from geodit.evaluation.metrics import CaptioningMetric

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
    result = score(CAPTIONS, REFERENCES)
    assert result["cider"] == pytest.approx(cider, rel=1e-12)
    assert result["bleu4"] == pytest.approx(bleu[3], rel=1e-12)
    assert 0 < result["bleu4"] < 1


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
