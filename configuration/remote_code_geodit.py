# SPDX-License-Identifier: Apache-2.0
"""The code that a checkpoint carries, so that it loads where this package is not installed.

With `trust_remote_code=True` Transformers runs the code that lies in a folder or in a repository of the Hub. It finds
the classes by the `auto_map` of config.json and processor_config.json, and follows no imports but those between files
of that one folder. So `save_pretrained` writes the modules below side by side, where they import one another by
relative imports. This module is one of them: a checkpoint that was loaded by its own code is saved with that code.
"""

from __future__ import annotations

import ast
import functools
import importlib
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from transformers.utils import logging
from transformers.utils.hub import PushToHubMixin

from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.foreign_files_geodit import refusing_broken_files
from geodit.configuration.types_geodit import Arguments

if TYPE_CHECKING:
    # Never run, but read by the loader of Transformers, which copies a module to its cache together with what it
    # imports: through these lines, whichever of MODULES is loaded, all of them are there to be saved again.
    from geodit.modeling_geodit.diffusion_geodit import forward_process  # noqa: F401
    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion  # noqa: F401
    from geodit.processing.processing_geodit import GeoDiTProcessor  # noqa: F401

__all__ = [
    "CODE_FILES",
    "CONFIG_AUTO_MAP",
    "MODULES",
    "PROCESSOR_AUTO_MAP",
    "PublishedMixin",
    "RemoteCodeMixin",
    "make_imports_relative",
    "read_remote_code",
    "warn_of_moving_code",
    "write_remote_code",
]

logger = logging.get_logger(__name__)

MODULES = (
    "geodit.configuration.anyres_geodit",
    "geodit.configuration.configuration_geodit",
    "geodit.configuration.files_geodit",
    "geodit.configuration.foreign_files_geodit",
    "geodit.configuration.generation_arguments_geodit",
    "geodit.configuration.generation_configuration_geodit",
    "geodit.configuration.geometry_geodit",
    "geodit.configuration.older_transformers_geodit",
    "geodit.configuration.remote_code_geodit",
    "geodit.configuration.requirements_geodit",
    "geodit.configuration.types_geodit",
    "geodit.modeling_geodit.cache_geodit",
    "geodit.modeling_geodit.choices_geodit",
    "geodit.modeling_geodit.compiled_layers_geodit",
    "geodit.modeling_geodit.compiled_predictor_geodit",
    "geodit.modeling_geodit.decoding_geodit",
    "geodit.modeling_geodit.decoding_plan_geodit",
    "geodit.modeling_geodit.denoising_loop_geodit",
    "geodit.modeling_geodit.denoising_state_geodit",
    "geodit.modeling_geodit.diffusion_geodit",
    "geodit.modeling_geodit.fixed_network_geodit",
    "geodit.modeling_geodit.fixed_step_geodit",
    "geodit.modeling_geodit.generation_geodit",
    "geodit.modeling_geodit.graph_capture_geodit",
    "geodit.modeling_geodit.grids_geodit",
    "geodit.modeling_geodit.host_copies_geodit",
    "geodit.modeling_geodit.image_encoding_geodit",
    "geodit.modeling_geodit.layer_runs_geodit",
    "geodit.modeling_geodit.loaded_weights_geodit",
    "geodit.modeling_geodit.loop_choice_geodit",
    "geodit.modeling_geodit.model_types_geodit",
    "geodit.modeling_geodit.modeling_geodit",
    "geodit.modeling_geodit.module_checks_geodit",
    "geodit.modeling_geodit.patterns_geodit",
    "geodit.modeling_geodit.predictors_geodit",
    "geodit.modeling_geodit.prompts_geodit",
    "geodit.modeling_geodit.random_geodit",
    "geodit.modeling_geodit.slots_geodit",
    "geodit.modeling_geodit.softmax_geodit",
    "geodit.modeling_geodit.step_capture_geodit",
    "geodit.modeling_geodit.step_rules_geodit",
    "geodit.modeling_geodit.stop_strings_geodit",
    "geodit.modeling_geodit.tower_runs_geodit",
    "geodit.modeling_geodit.weight_files_geodit",
    "geodit.processing.boxes_geodit",
    "geodit.processing.images_geodit",
    "geodit.processing.processing_geodit",
    "geodit.processing.tasks_geodit",
    "geodit.processing.turned_boxes_geodit",
)
"""The modules of this package that a checkpoint carries."""

CODE_FILES = tuple(f"{module.rpartition('.')[2]}.py" for module in MODULES)
"""What they are called in the folder of a checkpoint."""

# AutoModel gives the network that generates: that is what someone who has no more than Transformers asks it for.
CONFIG_AUTO_MAP = {
    "AutoConfig": "configuration_geodit.GeoDiTConfig",
    "AutoModel": "modeling_geodit.GeoDiTForMaskedDiffusion",
    "AutoModelForImageTextToText": "modeling_geodit.GeoDiTForMaskedDiffusion",
    "AutoModelForMultimodalLM": "modeling_geodit.GeoDiTForMaskedDiffusion",
}
"""The `auto_map` of config.json: the classes that the Auto classes of Transformers load."""

PROCESSOR_AUTO_MAP = {"AutoProcessor": "processing_geodit.GeoDiTProcessor"}
"""The `auto_map` of processor_config.json."""


_COMMIT = re.compile(r"[0-9a-f]{40}")
_PACKAGE = "geodit"


class PublishedMixin(PushToHubMixin):
    """Gives a model, a configuration or a processor a `push_to_hub` that writes the model card, too."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        max_shard_size: int | str | None = "50GB",
        tags: Sequence[str] | None = None,
    ) -> Any:
        """Save this object, with the code that loads it, to a repository of the Hub in one commit.

        The card there is made anew, of what the repository holds then. That takes the package `geodit`; where it is
        not installed, and this is the code of a checkpoint, Transformers pushes as it does for any model.

        Args:
            repo_id: Hub id of the repository, which is made if it does not exist.
            commit_message: First line of the commit message.
            commit_description: The rest of it.
            private: Whether a repository that is made is private; by default as the organization has it.
            token: Token with write access; by default `HF_TOKEN`, or that of `hf auth login`.
            revision: The branch to push to, by default the main one.
            create_pr: Whether to open a pull request instead.
            max_shard_size: Size of a file of weights at most.
            tags: Tags of the card beside those that every GeoDiT model has.

        Returns:
            The [`~huggingface_hub.CommitInfo`] of the commit.

        Raises:
            PermissionError: If the Hub does not accept the token, or it gives no access.
            ConnectionError: If the connection keeps breaking, or the Hub stays busy.
            ValueError: If the Hub refuses the files, or the repository is not one to push this to.
        """
        options: Arguments = {
            "commit_message": commit_message,
            "commit_description": commit_description,
            "private": private,
            "token": token,
            "revision": revision,
            "create_pr": create_pr,
            "tags": [*(getattr(self, "model_tags", None) or ()), *(tags or ())],
        }
        push_saved = _publisher()
        if push_saved is None:
            return super().push_to_hub(repo_id, max_shard_size=max_shard_size, **options)
        options["commit_message"] = commit_message or f"Upload {type(self).__name__}"
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, max_shard_size=max_shard_size)  # type: ignore[no-untyped-call]
            return push_saved(folder, repo_id, **options)


class RemoteCodeMixin(PublishedMixin):
    """Gives a configuration or a processor a `save_pretrained` that writes the code beside it.

    Models need none of their own: they save their configuration with them.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Self:
        """Load this object, with a warning if its code came from a branch of the Hub, which may change.

        Code that the repository holds for one of the parts (a tokenizer, an image processor) runs with
        `trust_remote_code=True` only. See `from_pretrained` of the class that this is mixed into.

        Raises:
            ValueError: If its files are damaged, or not those of GeoDiT.
            OSError: If they are not there.
        """
        warn_of_moving_code(pretrained_model_name_or_path, kwargs.get("revision"))
        # Each of the parts of a processor may name code of its own, and unless told, Transformers asks at the terminal
        # whether to run it.
        if kwargs.get("trust_remote_code") is None:
            kwargs["trust_remote_code"] = False
        with refusing_broken_files(pretrained_model_name_or_path):
            loaded: Self = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)  # type: ignore[misc]
        return loaded

    def save_pretrained(self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any) -> Any:
        """Save this object, and the code that loads it.

        Args:
            save_directory: The folder to write to; it is made if it does not exist.
            push_to_hub: Whether to push what was written to the Hub.
            **kwargs: Arguments of [`~transformers.utils.PushToHubMixin.push_to_hub`].

        Raises:
            ValueError: If `save_directory` is a file.
        """
        write_remote_code(save_directory)
        directory = os.fspath(save_directory)
        return super().save_pretrained(directory, push_to_hub=push_to_hub, **kwargs)  # type: ignore[no-untyped-call]

    def _get_files_timestamps(self, working_dir: str | os.PathLike[str]) -> dict[str, float]:
        # Taken before `save_pretrained` of Transformers writes its files, to push what is new. The code is new, too.
        timestamps: dict[str, float] = super()._get_files_timestamps(working_dir)
        return {file: timestamp for file, timestamp in timestamps.items() if file not in CODE_FILES}

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type | None = None) -> None:
        """Do nothing: the code is always saved.

        Transformers calls this for the classes that it loads as remote code. Registered, they would be saved by its
        own mechanism as well, which copies source files with their imports as they are.
        """


def warn_of_moving_code(name: str | os.PathLike[str] | None, revision: str | None) -> None:
    """Warn, once, if this is the code of a repository's branch: it may be other code the next time.

    Args:
        name: The Hub id, or folder, that is being loaded.
        revision: What of it was asked for: a branch, a tag or a commit, or what Transformers has made of that.
    """
    commits = _COMMIT.findall(__name__)  # as Transformers names the modules that it has loaded from the Hub
    asked = getattr(revision, "initial", revision)
    if not commits or name is None or Path(name).is_dir() or _COMMIT.fullmatch(asked or ""):
        return
    if getattr(revision, "resolved", commits[-1]) != commits[-1]:
        return  # the code has a revision of its own
    logger.warning_once(
        f"The code that loads {name} came from its {asked or 'main'} branch, and may be other code the next time. "
        f"Read it, and stay with it by revision={commits[-1]!r}."
    )


def _publisher() -> Callable[..., object] | None:
    """Return the package's function that pushes with a card; `None` where the package is not installed."""
    try:
        package = importlib.import_module(_PACKAGE)
    except ModuleNotFoundError as error:
        if error.name == _PACKAGE:
            return None
        raise
    return getattr(package, "push_saved", None)


def write_remote_code(folder: str | os.PathLike[str]) -> None:
    """Write [`MODULES`] to a folder, over those that are there. Each file is complete from the moment it appears.

    Args:
        folder: The folder of a checkpoint; it is made if it does not exist.

    Raises:
        ValueError: If `folder` is a file, or a module imports what a checkpoint does not carry.
    """
    target = Path(folder)
    if target.is_file():
        raise ValueError(f"{target} is a file: name a folder to save to.")
    sources = read_remote_code()
    target.mkdir(parents=True, exist_ok=True)
    for name, content in sources.items():
        write_atomically(target / name, content)


@functools.lru_cache(maxsize=2 * len(MODULES))  # of sources that stay as they are while many checkpoints are saved
def make_imports_relative(source: str, name: str) -> str:
    """Turn imports from this package into imports of files in one folder; nothing else in the source changes.

    Args:
        source: The source of a module that imports other modules of this package, if any, by statements of the form
            `from geodit.<package>.<module> import ...`.
        name: What the module is called, for errors.

    Raises:
        ValueError: If an import would not work in one folder: of a module of this package that is not among
            [`MODULES`], in another form, or already relative.
    """
    lines = source.split("\n")
    statements = [node for node in ast.walk(ast.parse(source, name)) if isinstance(node, ast.Import | ast.ImportFrom)]
    # From the last to the first, so that the places of those to come stay what they are.
    for node in sorted(statements, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        if isinstance(node, ast.ImportFrom):
            imported = "." * node.level + (node.module or "")
        else:
            imported = next((alias.name for alias in node.names if _is_ours(alias.name)), "")
        if not (_is_ours(imported) or imported.startswith(".")):
            continue
        line = lines[node.lineno - 1]
        # Columns of the syntax tree count bytes.
        start = len(line.encode()[: node.col_offset].decode())
        absolute = f"from {imported} import"
        if imported not in MODULES or not line.startswith(absolute, start):
            raise ValueError(
                f"{name}, line {node.lineno}: the code of a checkpoint cannot hold {line.strip()!r}. Of this package "
                "it imports modules that are in remote_code_geodit.MODULES, by `from <module> import ...`."
            )
        relative = f"from .{imported.rpartition('.')[2]} import"
        lines[node.lineno - 1] = line[:start] + relative + line[start + len(absolute) :]
    return "\n".join(lines)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "geodit"


def read_remote_code() -> dict[str, bytes]:
    """Return the files as a checkpoint has them, by name.

    Raises:
        ValueError: If a module imports what a checkpoint does not carry.
    """
    if __name__ not in MODULES:  # loaded from a checkpoint, with the others beside
        return {name: Path(__file__).with_name(name).read_bytes() for name in CODE_FILES}
    sources = {}
    for module, name in zip(MODULES, CODE_FILES, strict=True):
        source = resources.files(module.rpartition(".")[0]).joinpath(name).read_text(encoding="utf-8")
        sources[name] = make_imports_relative(source, module).encode()
    return sources
