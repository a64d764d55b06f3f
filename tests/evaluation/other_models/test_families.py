# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from geodit.data.schema import Question
from geodit.evaluation.other_models.families import FAMILIES, GENERIC_FAMILY, find_family, get_family


@pytest.mark.parametrize(
    ("name", "model_type", "family"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", "qwen2_5_vl"),
        ("Qwen/Qwen3-VL-8B-Instruct", "qwen3_vl", "qwen3_vl"),
        ("Qingyun/RSCoVLM", "qwen2_5_vl", "rscovlm"),
        ("OpenGVLab/InternVL3-8B-hf", "internvl", "internvl"),
        ("akshaydudhane/EarthDial_4B_RGB", "internvl_chat", "earthdial"),
        ("microsoft/Florence-2-large", "florence2", "florence2"),
        ("MBZUAI/geochat-7B", "geochat", "geochat"),
        ("/models/my-copy/", "geochat", "geochat"),
        ("FitzPC/vhm_7B", "llava", "vhm"),
        ("GSAI-ML/LLaDA-V", "llava_llada", "llada_v"),
        ("llava-hf/llava-1.5-7b-hf", "llava", "llava"),
        ("vhm/any-model", "idefics3", "generic"),  # an organization is not a model
        ("any/model", None, "generic"),
    ],
)
def test_a_family_is_found_by_name_or_type(name, model_type, family):
    assert find_family(name, {"model_type": model_type}).name == family


def test_names_and_types_are_those_of_one_family():
    names = [family.name for family in (*FAMILIES, GENERIC_FAMILY)]
    types = [one for family in FAMILIES for one in family.model_types]
    assert len(set(names)) == len(names)
    assert len(set(types)) == len(types)


@pytest.mark.parametrize(
    ("family", "task", "text"),
    [
        ("qwen2_5_vl", "ground", "Locate the red ship, output its bbox coordinates using JSON format."),
        (
            "internvl",
            "ground",
            (
                "Please provide the bounding box coordinate of the region this sentence describes: "
                "<ref>the red ship</ref>"
            ),
        ),
        ("geochat", "ground", "[refer] Give me the location of <p> the red ship </p>"),
        ("earthdial", "ground", "\n Give me the location of <ref>the red ship</ref>"),
        ("florence2", "ground", "<CAPTION_TO_PHRASE_GROUNDING>the red ship"),
        ("florence2", "caption", "<CAPTION>"),
        ("rscovlm", "ground", "find the the red ship"),
        ("llava", "vqa", "the red ship\nAnswer the question using a single word or phrase."),
        ("vhm", "vqa", "{VQA} the red ship\nAnswer the question using a single word or phrase."),
    ],
)
def test_a_question_is_worded_as_the_family_has_it(family, task, text):
    query = "" if task == "caption" else " the red ship "
    assert get_family(family).prompt(Question(task, query)).text == text


def test_classes_are_told_where_they_are_known():
    family = get_family("earthdial")
    assert family.prompt(Question("classify")).text.endswith("Answer with its name only.")
    told = family.prompt(Question("classify"), ["port", "bare land"]).text
    assert told == "Classify the given image in one of the following classes. Classes: port, bare land. "


def test_what_comes_before_the_image_is_kept_apart():
    assert get_family("earthdial").prompt(Question("ground", "ship")).before == "[refer] [hr_rgb_0.5] "
    assert get_family("llava").prompt(Question("vqa", "an {image} of a ship?")).before == ""


def test_braces_of_a_question_stay_as_they_are():
    asked = get_family("generic").prompt(Question("vqa", "Is {query} or {0} there?")).text
    assert asked.startswith("Is {query} or {0} there?\n")


def test_a_system_turn_is_that_of_the_task():
    family = get_family("rscovlm")
    assert "x1,y1,x2,y2 object" in family.prompt(Question("ground", "ship")).system
    assert "polygon" in family.prompt(Question("detect", "ship")).system
    assert family.prompt(Question("caption")).system is None


def test_a_family_words_every_task():
    with pytest.raises(ValueError, match="'llava' needs a prompt for each of the tasks caption, ground"):
        replace(get_family("llava"), prompts={"caption": "Describe."})


def test_an_unknown_family_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"'gpt'; the families are qwen2_5_vl, .*, generic"):
        get_family("gpt")
