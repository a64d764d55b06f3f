# SPDX-License-Identifier: Apache-2.0
"""The Auto classes know GeoDiT whatever is imported first, and `import geodit` loads nothing for that."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from transformers.models.auto import modeling_auto

import geodit
from forked_programs import ForkedPrograms

CHECK = """
import geodit
from transformers import (
    AutoConfig, AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoProcessor
)
assert type(AutoConfig.from_pretrained(folder)) is geodit.GeoDiTConfig
for auto_class in (AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM):
    assert type(auto_class.from_pretrained(folder)) is geodit.GeoDiTForMaskedDiffusion, auto_class
assert type(AutoProcessor.from_pretrained(folder)) is geodit.GeoDiTProcessor
assert not finders(), "all is registered, but the finder is still there"
"""


def with_preamble(code: str, folder: Path | str = "") -> str:
    return f"""
import sys
assert not {{"geodit", "transformers"}} & set(sys.modules)
folder = {str(folder)!r}
def finders():
    return [finder for finder in sys.meta_path if type(finder).__module__.startswith("geodit")]
{code}"""


# What takes long to import, without Transformers and GeoDiT: each fork imports these two in an order of its own.
IMPORTED_BEFORE = (
    *("accelerate", "huggingface_hub", "numpy", "PIL.Image", "regex", "safetensors.torch", "tokenizers", "yaml"),
    *("torch._dynamo", "torch.distributed.tensor"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Runs code in a new interpreter, and gives the last line of its traceback: empty if all went well."""
    file = tmp_path_factory.mktemp("code") / "code.py"

    def run(code: str, folder: Path | str = "") -> str:
        file.write_text(with_preamble(code, folder))
        finished = programs.run([file])
        return "" if finished.returncode == 0 else finished.stderr.strip().splitlines()[-1]

    with ForkedPrograms(IMPORTED_BEFORE, os.environ) as programs:
        yield run


def test_importing_geodit_loads_nothing_but_the_standard_library():
    code = """
before = set(sys.modules)
import geodit
dir(geodit)
packages = {name.partition(".")[0] for name in set(sys.modules) - before}
assert packages <= {"geodit", *sys.stdlib_module_names}, packages
assert len(finders()) == 1
"""
    subprocess.run([sys.executable, "-c", with_preamble(code)], check=True)


@pytest.mark.parametrize(
    "imports",
    [
        "import geodit; import transformers",
        "import transformers; import geodit",
        "from transformers import AutoModel; import geodit",
        "import geodit; from transformers.models.auto.modeling_auto import AutoModel",
        # These import the Auto classes, and are imported by the network of GeoDiT: when the Auto classes are complete,
        # they are not.
        "import geodit; from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel",
        "from geodit import GeoDiTForMaskedDiffusion",
        "from geodit.configuration.configuration_geodit import GeoDiTConfig",
    ],
)
def test_the_auto_classes_know_geodit_in_every_order_of_imports(imports, checkpoint, run):
    assert run(f"{imports}\n{CHECK}", checkpoint) == ""


def test_a_pipeline_of_transformers_finds_the_model(checkpoint, run):
    code = """
import geodit
from transformers import pipeline
pipe = pipeline("image-text-to-text", model=folder)
assert type(pipe.model) is geodit.GeoDiTForMaskedDiffusion
assert type(pipe.processor) is geodit.GeoDiTProcessor
"""
    assert run(code, checkpoint) == ""


def test_reloading_registers_again(run):
    code = """
import importlib
import geodit
importlib.reload(geodit)
assert len(finders()) == 1
from transformers.models.auto import modeling_auto
def known():
    return geodit.GeoDiTConfig in modeling_auto.MODEL_MAPPING
assert known() and not finders()
for again in (geodit.register_auto_classes, lambda: importlib.reload(geodit)):
    importlib.reload(modeling_auto)
    assert not known()
    again()
    assert known() and not finders()
"""
    assert run(code) == ""


ERROR = "ImportError: the Auto classes of Transformers cannot be made to know GeoDiT: ModuleNotFoundError: "


def test_what_goes_wrong_is_told_when_transformers_is_imported(run):
    code = """
import geodit
sys.modules["geodit.modeling_geodit.modeling_geodit"] = None
from transformers import AutoModel
"""
    line = run(code)
    assert line.startswith(ERROR)
    assert "geodit.modeling_geodit.modeling_geodit" in line


def test_what_goes_wrong_is_told_when_geodit_is_imported_and_transformers_goes_on_working(run):
    code = """
from transformers import AutoModel
sys.modules["geodit.modeling_geodit.modeling_geodit"] = None
try:
    import geodit
except ImportError:
    assert not finders()
    from transformers import AutoModelForCausalLM, AutoProcessor
    raise
"""
    assert run(code).startswith(ERROR)


class TestRegisterAutoClasses:
    def test_it_can_be_called_again(self):
        geodit.register_auto_classes()
        geodit.register_auto_classes()
        assert modeling_auto.MODEL_MAPPING[geodit.GeoDiTConfig] is geodit.GeoDiTForMaskedDiffusion

    def test_an_auto_class_that_transformers_lacks_is_named(self, monkeypatch):
        monkeypatch.delattr(modeling_auto, "AutoModelForMultimodalLM")
        with pytest.raises(ImportError, match=r"ImportError: .*AutoModelForMultimodalLM.*; install the versions"):
            geodit.register_auto_classes()
