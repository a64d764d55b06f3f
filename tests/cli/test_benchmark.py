# SPDX-License-Identifier: Apache-2.0
"""The command at sizes that run in seconds; what it measures is tested in tests/speed."""

import json

import pytest
import torch
from PIL import Image

QUICK = (
    "--shape",
    "tiny",
    "--prefix",
    21,
    "--canvas",
    4,
    "--max-denoising-steps",
    2,
    "--repeats",
    1,
    "--device",
    "cpu",
)


def test_help_has_an_example(geodit):
    result = geodit("benchmark", "--help")
    assert result.exit_code == 0
    assert "geodit benchmark " in result.stdout.split("Example")[1]


def test_it_prints_a_table_a_point_and_writes_all_files(geodit, tmp_path):
    out, plot, profile = (tmp_path / name for name in ("speed.json", "speed.png", "where.txt"))
    result = geodit(
        "benchmark", *QUICK, "--questions", "1,2", "--out", out, "--plot", plot, "--profile", profile,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "shape tiny" in result.stdout
    assert result.stdout.count("contestant and its work") == 2
    document = json.loads(out.read_text())
    assert [point["workload"]["questions"] for point in document["points"]] == [1, 2]
    kinds = {contestant["kind"] for point in document["points"] for contestant in point["contestants"]}
    assert kinds == {"geodit", "reference", "autoregressive", "floor"}
    with Image.open(plot) as picture:
        assert picture.format == "PNG"
    assert "aten::" in profile.read_text()
    for path in (out, plot, profile):
        assert f"wrote {path}" in result.stdout


def test_json_has_the_grid_and_what_it_ran_on(geodit):
    threads = torch.get_num_threads()
    result = geodit(
        "benchmark", *QUICK, "--canvas", "2,4", "--questions", 1, "--batch", 2, "--dtype", "float32,bfloat16",
        "--layers", 1, "--contestants", "reference,floor", "--threads", 1, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    workloads = [point["workload"] for point in document["points"]]
    grid = [(workload["dtype"], workload["canvas_length"], workload["batch_size"]) for workload in workloads]
    assert grid == [("float32", 2, 2), ("float32", 4, 2), ("bfloat16", 2, 2), ("bfloat16", 4, 2)]
    assert {c["key"] for point in document["points"] for c in point["contestants"]} == {"reference", "floor"}
    assert document["shape"]["num_hidden_layers"] == 1
    assert document["machine"]["threads"] == 1
    assert document["machine"]["versions"]["torch"] == torch.__version__
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "70b"], "'--shape'"),
        (["--canvas", "8,,16"], "--canvas takes one or more values separated by commas, got '8,,16'"),
        (["--max-denoising-steps", "0"], "--max-denoising-steps takes whole numbers of at least 1, got '0'"),
        (["--batch", "many"], "--batch takes whole numbers of at least 1, got 'many'"),
        (["--dtype", "float16"], "dtype must be one of float32, bfloat16, but is 'float16'"),
        (["--prefix", "12"], "a prefix of 12 tokens leaves none for an image"),
        (["--questions", "10", "--batch", "4"], "with batch size 1"),
        (["--contestants", "fastest"], "there is no contestant fastest; there are full, "),
        (["--heads", "7"], "cannot be cut into num_attention_heads=7"),
        (["--repeats", "0"], "'--repeats'"),
        (["--device", "abacus"], "cannot run on the device 'abacus'"),
        (["--out", "no/such/place.json"], "no/such"),
        (["--plot", "no/such/place.png"], "no/such"),
    ],
)
def test_bad_input_is_told_in_one_line(geodit, arguments, message):
    assert message in geodit.fails("benchmark", *QUICK, *arguments)


def test_a_model_that_does_not_fit_is_refused_before_it_is_made(geodit):
    line = geodit.fails("benchmark", "--hidden-size", 2**16, "--layers", 1000, "--device", "cpu")
    assert "choose a smaller shape" in line


def test_a_shape_that_no_model_has_is_one_line(geodit):
    line = geodit.fails("benchmark", "--hidden-size", 2**20, "--layers", 1, "--device", "cpu")
    assert "text_config.hidden_size must be an integer from 1 to 65,536, got 1048576" in line
