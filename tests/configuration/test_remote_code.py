# SPDX-License-Identifier: Apache-2.0
"""The code that a checkpoint carries: which modules, and how they come to import one another in one folder."""

import ast
import json
import sys
from pathlib import Path

import pytest
from transformers import processing_utils
from transformers.dynamic_module_utils import get_relative_import_files

import geodit
from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.remote_code_geodit import (
    CODE_FILES,
    CONFIG_AUTO_MAP,
    MODULES,
    PROCESSOR_AUTO_MAP,
    make_imports_relative,
    write_remote_code,
)
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor

PACKAGE = Path(geodit.__file__).parent
# What Transformers cannot do without, and Pillow.
ALLOWED = {"torch", "transformers", "huggingface_hub", "safetensors", "numpy", "PIL"} | sys.stdlib_module_names


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    write_remote_code(folder)
    return folder


def names(folder):
    return {path.name for path in folder.iterdir()}


class TestModules:
    def test_they_are_those_whose_names_say_so(self):
        found = {
            f"geodit.{package}.{path.stem}"
            for package in ("configuration", "modeling_geodit", "processing")
            for path in PACKAGE.joinpath(package).glob("*_geodit.py")
        }
        assert set(MODULES) == found

    def test_no_two_have_the_same_file_name(self):
        assert len(set(CODE_FILES)) == len(MODULES)

    @pytest.mark.parametrize("name", CODE_FILES)
    def test_they_import_nothing_but_one_another_and_what_transformers_needs(self, folder, name):
        for node in ast.walk(ast.parse((folder / name).read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= ALLOWED
            elif isinstance(node, ast.ImportFrom) and node.level:
                assert f"{node.module}.py" in CODE_FILES
            elif isinstance(node, ast.ImportFrom):
                assert node.module.partition(".")[0] in ALLOWED

    @pytest.mark.parametrize("reference", sorted({*CONFIG_AUTO_MAP.values(), *PROCESSOR_AUTO_MAP.values()}))
    def test_transformers_copies_all_of_them_with_any_class_it_loads(self, folder, reference):
        module, name = reference.split(".")
        tree = ast.parse((folder / f"{module}.py").read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        copied = {Path(file).name for file in get_relative_import_files(folder / f"{module}.py")}
        assert copied == set(CODE_FILES)


class TestMakeImportsRelative:
    def test_imports_become_relative_and_nothing_else_changes(self):
        source = '''"""
from geodit.processing.tasks_geodit import Task: this is a docstring.
"""
import torch  # of geodit
from geodit.processing.tasks_geodit import Task, load_tasks
from geodit.processing.boxes_geodit import (
    BoxCodec,
)
if True:
    é = 1; from geodit.configuration.configuration_geodit import GeoDiTConfig as é  # geodit.
text = "from geodit.processing.tasks_geodit import Task"
'''
        expected = '''"""
from geodit.processing.tasks_geodit import Task: this is a docstring.
"""
import torch  # of geodit
from .tasks_geodit import Task, load_tasks
from .boxes_geodit import (
    BoxCodec,
)
if True:
    é = 1; from .configuration_geodit import GeoDiTConfig as é  # geodit.
text = "from geodit.processing.tasks_geodit import Task"
'''
        assert make_imports_relative(source, "here") == expected

    def test_two_imports_in_a_line(self):
        source = "from geodit.processing.tasks_geodit import Task; from geodit.processing.boxes_geodit import BoxCodec"
        expected = "from .tasks_geodit import Task; from .boxes_geodit import BoxCodec"
        assert make_imports_relative(source, "here") == expected

    @pytest.mark.parametrize(
        "statement",
        [
            "from geodit.processing.tokenization import IMAGE_TOKEN",
            "from geodit.processing import tasks_geodit",
            "from geodit import GeoDiTConfig",
            "import geodit",
            "import torch, geodit.processing.tasks_geodit",
            "from geodit.processing.tasks_geodit  import Task",
            "from .tasks_geodit import Task",
            "from . import tasks_geodit",
        ],
    )
    def test_what_one_folder_cannot_import_is_refused(self, statement):
        with pytest.raises(ValueError, match=r"here, line 2: .* cannot hold .*remote_code_geodit\.MODULES") as error:
            make_imports_relative(f"import torch\n{statement}\n", "here")
        assert repr(statement) in str(error.value)


class TestWriting:
    def test_a_folder_holds_the_modules_and_no_more(self, folder):
        assert names(folder) == set(CODE_FILES)

    def test_code_that_is_there_is_replaced(self, folder, tmp_path):
        (tmp_path / "boxes_geodit.py").write_text("old")
        write_remote_code(tmp_path)
        assert (tmp_path / "boxes_geodit.py").read_bytes() == (folder / "boxes_geodit.py").read_bytes()

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match=r"file is a file: name a folder to save to\."):
            GeoDiTConfig().save_pretrained(tmp_path / "file")

    def test_a_configuration_alone_carries_the_code_that_its_auto_map_names(self, tmp_path):
        GeoDiTConfig().save_pretrained(tmp_path)
        assert names(tmp_path) == {"config.json", *CODE_FILES}
        assert GeoDiTConfig.from_pretrained(tmp_path).auto_map == CONFIG_AUTO_MAP

    def test_a_configuration_that_is_not_saved_writes_nothing(self, tmp_path):
        GeoDiTConfig().to_json_file(tmp_path / "config.json")
        assert names(tmp_path) == {"config.json"}

    def test_transformers_does_not_save_the_code_a_second_time(self, checkpoint, tmp_path):
        # As it does when it has loaded these classes from a checkpoint, or as its documentation advises.
        for own_class in (GeoDiTConfig, GeoDiTForMaskedDiffusion, GeoDiTProcessor):
            own_class.register_for_auto_class()
        GeoDiTForMaskedDiffusion.from_pretrained(checkpoint).save_pretrained(tmp_path)
        GeoDiTProcessor.from_pretrained(checkpoint).save_pretrained(tmp_path)
        for name in (*CODE_FILES, "processor_config.json"):
            assert (tmp_path / name).read_bytes() == (checkpoint / name).read_bytes(), name
        assert "auto_map" not in json.loads((tmp_path / "tokenizer_config.json").read_text())
        assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == CONFIG_AUTO_MAP

    def test_saving_to_the_hub_pushes_the_code(self, checkpoint, tmp_path, monkeypatch):
        pushed = []

        class Hub:
            def create_repo(self, repo_id, **_):
                return type("RepoUrl", (), {"repo_id": repo_id})

            def create_commit(self, operations, **_):
                pushed.extend(operation.path_in_repo for operation in operations)

        monkeypatch.setattr(processing_utils, "hf_api", Hub)
        monkeypatch.setattr("transformers.utils.hub.hf_api", Hub)
        processor = GeoDiTProcessor.from_pretrained(checkpoint)
        processor.save_pretrained(tmp_path, push_to_hub=True, repo_id="someone/geodit")
        assert {"processor_config.json", *CODE_FILES} <= set(pushed)
