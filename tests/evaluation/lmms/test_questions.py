# SPDX-License-Identifier: Apache-2.0
"""Our data sets as tasks of lmms-eval, without lmms-eval itself."""

import json

import datasets
import pytest
import yaml

import published_datasets
from geodit.data.schema import Question, QuestionDataset
from geodit.evaluation.lmms import questions
from geodit.evaluation.lmms.__main__ import main
from geodit.evaluation.lmms.prompts import asked_task
from geodit.processing.tasks_geodit import DEFAULT_TASKS, Task


class TaskLoader(yaml.SafeLoader):
    """Reads task files; a function is found as lmms-eval finds it."""


def find_function(loader, node):
    module, _, name = loader.construct_scalar(node).rpartition(".")
    assert module == questions.__name__
    assert name in questions.__all__
    return getattr(questions, name)


TaskLoader.add_constructor("!function", find_function)


def load_task(name):
    task = yaml.load((questions.TASKS_FOLDER / f"{name}.yaml").read_text(), TaskLoader)  # noqa: S506
    shared = yaml.load((questions.TASKS_FOLDER / "_questions").read_text(), TaskLoader)  # noqa: S506
    return {**shared, **task}


TASKS = sorted(path.stem for path in questions.TASKS_FOLDER.glob("*_*.yaml") if path.stem != "dior_rsvg")


@pytest.fixture
def table(dataset, tmp_path):
    return datasets.load_from_disk(questions.write_questions(dataset, tmp_path / "table"))["test"]


def test_the_table_has_every_question_with_its_image(dataset, table):
    expected = QuestionDataset(dataset)
    assert [Question.from_dict(json.loads(row)) for row in table["question"]] == expected.questions
    assert table["task"] == [question.task for question in expected.questions]
    for index in (0, 8):
        (image,) = questions.doc_to_visual(table[index])
        assert image.tobytes() == expected[index]["image"].tobytes()
        assert (table[index]["height"], table[index]["width"]) == (image.height, image.width)
    assert len(questions.only_ground(table)) == 4


def test_images_that_are_files_stay_where_they_are(tmp_path):
    folder = questions.prepare("dior-rsvg", published_datasets.dior_rsvg(tmp_path / "DIOR-RSVG"), tmp_path / "table")
    table = datasets.load_from_disk(folder)["test"]
    assert all(path.startswith(str(tmp_path / "DIOR-RSVG" / "JPEGImages")) for path in table["image"])
    assert list((folder / "images").iterdir()) == []
    assert {"ground", "detect"} == set(table["task"])
    with pytest.raises(FileExistsError, match="remove it, or name another folder"):
        questions.prepare("dior-rsvg", tmp_path / "DIOR-RSVG", folder)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_file_asks_and_scores(name, dataset, table):
    task = load_task(name)
    assert task["task"] == name
    data_set, _, kind = name.rpartition("_")
    assert task["dataset_path"] == f"geodit-data/lmms/{data_set.replace('_', '-')}"
    rows = task["process_docs"](table)
    assert set(rows["task"]) == {kind}

    records = [task["process_results"](row, [true_answer(row)]) for row in rows]
    scorers = {one["metric"]: one["aggregation"] for one in task["metric_list"]}
    figures = {name: score([record[name] for record in records]) for name, score in scorers.items()}
    assert figures["parse_rate"] == 1
    assert set(records[0]) == set(figures)
    best = {"caption": "cider", "ground": "ground_accuracy", "detect": "f1", "vqa": "text_accuracy"}[kind]
    wrong = [task["process_results"](row, ["?"])[best] for row in rows]
    assert figures[best] > 0.99
    assert scorers[best](wrong) < 0.5


def true_answer(row):
    question = Question.from_dict(json.loads(row["question"]))
    if question.task not in ("ground", "detect"):
        return question.answer
    scale = (1000 / row["width"], 1000 / row["height"]) * 2
    boxes = [[round(value * factor) for value, factor in zip(box, scale, strict=True)] for box in question.boxes]
    return json.dumps([{"bbox_2d": box, "label": question.query} for box in boxes])


def test_groups_name_their_tasks():
    for group in ("vrsbench", "dior_rsvg"):
        named = yaml.safe_load((questions.TASKS_FOLDER / f"{group}.yaml").read_text())
        assert named["group"] == group
        assert sorted(named["task"]) == [name for name in TASKS if name.startswith(group)]


def test_geodit_gets_its_own_prompts_and_other_models_generic_ones(table):
    row = questions.only_ground(table)[0]
    assert (
        questions.doc_to_text(row, load_task("vrsbench_ground")["lmms_eval_specific_kwargs"]["geodit"])
        == "Locate: the ship."
    )
    other = load_task("vrsbench_ground")["lmms_eval_specific_kwargs"]["default"]
    assert "integers from 0 to 1000" in questions.doc_to_text(row, other)
    assert questions.doc_to_text(row) == questions.doc_to_text(row, other)


def test_boxes_are_labeled_by_what_was_asked(table):
    row = questions.only_detect(table)[0]
    answer = '[{"bbox_2d": [0, 0, 500, 500], "label": "a big ship"}]'
    assert questions.process_results(row, [answer])["f1"]["labels"] == ["ship"]
    several = {**row, "question": json.dumps(Question("detect", "ship, tree").to_dict())}
    assert questions.process_results(several, [answer])["f1"]["labels"] == ["a big ship"]


@pytest.mark.parametrize(
    ("prompt", "task", "query"),
    [
        ("Describe the image.", "caption", ""),
        ("Classify the scene.\n", "classify", ""),
        ("Locate: the red ship.", "ground", "the red ship"),
        ("Detect: ship, harbor.", "detect", "ship, harbor"),
        ("Locate: the ship. It is red.", "ground", "the ship. It is red"),
        ("Is there a ship?", "vqa", "Is there a ship?"),
        ("Locate:", "vqa", "Locate:"),
    ],
)
def test_a_prompt_is_understood_as_a_question_of_a_task(prompt, task, query):
    assert asked_task(DEFAULT_TASKS, prompt) == (task, query)


def test_prompts_of_a_checkpoint_and_default_ones_are_understood():
    tasks = {
        "ground": Task("ground", "Where is {query}?", 8, "boxes"),
        "vqa": Task("vqa", "{query}", 8),
    }
    assert asked_task(tasks, "Where is the ship?") == ("ground", "the ship")
    assert asked_task(tasks, "Locate: the ship.") == ("ground", "the ship")
    assert asked_task(tasks, "Describe the image.") == ("vqa", "Describe the image.")
    with pytest.raises(ValueError, match="no task that takes the question 'How many"):
        asked_task({"ground": tasks["ground"]}, "How many ships?")
    with pytest.raises(ValueError, match="the prompt is empty"):
        asked_task(tasks, " ")


def test_the_command_prints_the_folder_and_writes_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main([])
    assert capsys.readouterr().out.strip() == str(questions.TASKS_FOLDER)
    published_datasets.vrsbench(tmp_path / "VRSBench")
    main(["vrsbench", "VRSBench"])
    assert capsys.readouterr().out.strip() == "geodit-data/lmms/vrsbench"
    assert len(datasets.load_from_disk(tmp_path / "geodit-data/lmms/vrsbench")["test"]) > 0
    for wrong, reason in (
        (["vrsbench", "VRSBench"], "remove it, or name another folder"),
        (["vrsbench"], "or neither"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(wrong)
        assert reason in capsys.readouterr().err
