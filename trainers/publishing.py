# SPDX-License-Identifier: Apache-2.0
"""A Trainer that publishes its model with the card of a GeoDiT checkpoint, at the end and on the way."""

from __future__ import annotations

import dataclasses
import enum
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import yaml
from huggingface_hub import CommitInfo, HfApi
from transformers.trainer_utils import HubStrategy, SaveStrategy, unwrap_peft_model
from transformers.utils import logging
from transformers.utils.hub import PushInProgress

from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.secrets import mask_secrets
from geodit.configuration.types_geodit import Arguments, JsonObject
from geodit.hub_cards.card.evaluation_results import RESULTS_FOLDER
from geodit.hub_cards.card.examples import ASSETS_FOLDER
from geodit.hub_cards.card.markdown import without_folders
from geodit.hub_cards.publish.file_checks import refuse_foreign_files
from geodit.hub_cards.publish.file_selection import PublishedFile, published_files
from geodit.hub_cards.publish.hub_client import HubClient
from geodit.hub_cards.publish.push import prepare_repo, push_files, resolve_repo_id
from geodit.hub_cards.publish.run_folders import RUN_LOG, RUN_RECIPE, as_checkpoint, link_file
from geodit.trainers.argument_fields import default_of
from geodit.trainers.resilience.checkpoint_guard import FILE_LIST, PRIVATE, remove_empty
from geodit.trainers.resilience.guarded_trainer import GuardedTrainer
from geodit.weights.adapters import complete_adapter_folder

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["PublishingTrainer", "log_lines"]

logger = logging.get_logger(__name__)

SNAPSHOTS = f"{PRIVATE}/publishing"
"""Name of the folder, within the output folder of a run, that holds what is being pushed."""

_README = "README.md"
_ARGUMENTS = "training_args.bin"
# Beside the files themselves: figures, and pictures of what the model answers.
_FOLDERS_OF_A_CARD = (RESULTS_FOLDER, ASSETS_FOLDER)
# What a card tells of a run even where it is as always.
_ALWAYS_TOLD = ("learning_rate", "lr_scheduler_type", "num_train_epochs", "per_device_train_batch_size", "seed")
_NOT_TOLD = ("hub_", "push_to_hub", "resume_from_checkpoint", "overwrite_output_dir")


class PublishingTrainer(GuardedTrainer):
    """[`GuardedTrainer`] whose repository on the Hub holds what `geodit push` puts there.

    With `push_to_hub=True`, `save_model()` pushes the model with its card, made of the run so far, in one commit. So
    does each checkpoint unless `hub_strategy` is `"end"`, while training goes on; `"checkpoint"` and
    `"all_checkpoints"` push what training can go on from beside it. A push on the way that fails is a warning, the
    last one an error; either way the files in the output folder stay as they are.

    Args:
        *args: Arguments of [`~transformers.Trainer`].
        recipe: What the card tells of the run; by default the arguments that differ from their defaults.
        **kwargs: Arguments of [`~transformers.Trainer`].
    """

    _client: HubClient | None = None
    hub_model_id: str | None  # type: ignore[assignment]
    push_in_progress: Any = None

    def __init__(self, *args: Any, recipe: Mapping[str, object] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recipe = recipe

    @property
    def _output_dir(self) -> Path:
        return Path(str(self.args.output_dir))

    def _checkpoint_to_resume(self, choice: str | bool | None) -> str | None:
        # What a run that was killed has left; the folder is locked by now.
        if self.is_local_process_zero() and self.push_in_progress is None:
            shutil.rmtree(self._output_dir / SNAPSHOTS, ignore_errors=True)
        return super()._checkpoint_to_resume(choice)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save and unwrap_peft_model(self.model) is not self.model:
            complete_adapter_folder(cast("PeftModel", self.model), output_dir or str(self.args.output_dir))

    # The repository

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Find the repository, or make it, so that what is wrong with it or the token is known before training.

        Args:
            token: Token with write access; by default `args.hub_token`, `HF_TOKEN`, or that of `hf auth login`.
            private: Whether a repository that is made is private; by default `args.hub_private_repo`.

        Raises:
            PermissionError: If there is no token, or it gives no access.
            ConnectionError: If the Hub cannot be reached.
            ValueError: If the repository is public and was to be private.
        """
        self.push_in_progress = None
        if not self.is_world_process_zero():
            return
        self._client = HubClient(token or self.args.hub_token)
        name = self.args.hub_model_id or self._output_dir.absolute().name
        repo_id = resolve_repo_id(name, self._client.check_token())
        prepare_repo(self._client, repo_id, private=self.args.hub_private_repo if private is None else private)
        self.hub_model_id = repo_id

    def create_model_card(  # type: ignore[override]
        self,
        language: str = "en",
        license: str = "apache-2.0",
        tags: str | Sequence[str] = (),
        model_name: str | None = None,
        finetuned_from: str | None = None,
        dataset: str | Sequence[str] = (),
    ) -> None:
        """Write the card of the model, as it was last saved, to README.md in the output folder.

        Args:
            language: ISO 639 code of the language of prompts and answers.
            license: The Hub's identifier of the licence of the weights.
            tags: Tags beside those that every GeoDiT model has.
            model_name: Title of the card.
            finetuned_from: Hub id of the model that training started from; by default that which is known.
            dataset: Hub ids of the data sets trained on.

        Raises:
            ValueError: If there is no model in the output folder.
        """
        if not self.is_world_process_zero():
            return
        folder = self._snapshot(self._output_dir)
        try:
            with as_checkpoint(folder, self._output_dir.absolute().name) as view:
                files = published_files(
                    view,
                    origin=folder,
                    repo_id=self.hub_model_id or self.args.hub_model_id or self._output_dir.absolute().name,
                    **_card_options(language, license, tags, model_name, finetuned_from, dataset),
                )
                (card,) = (file.content for file in files if file.path_in_repo == _README)
                assert isinstance(card, bytes)  # it was made just now
                write_atomically(self._output_dir / _README, card)
        finally:
            _remove(folder)

    def push_to_hub(  # type: ignore[override]
        self,
        commit_message: str = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card_options: Any,
    ) -> CommitInfo | Future[CommitInfo] | None:
        """Save the model and push it with its card in one commit. All processes must call this.

        Args:
            commit_message: First line of the commit message.
            blocking: Whether to wait for the push.
            token: See [`init_hf_repo`]; it counts where the repository was not looked for yet.
            revision: The branch to push to; by default `args.hub_revision`, or else the main one.
            private: See [`init_hf_repo`].
            **card_options: Arguments of [`create_model_card`].

        Returns:
            The commit, or a `Future` of it if not `blocking`; `None` on processes but the first.

        Raises:
            PermissionError: If the Hub does not accept the token, or it gives no access.
            ConnectionError: If the connection keeps breaking, or the Hub stays busy.
            ValueError: If the Hub refuses the files, or the branch is none.
        """
        options = _card_options(**card_options)
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self._save_guarded(self._output_dir)
        if not self.is_world_process_zero():
            return None
        self._finish_current_push()
        job = self._api.run_as_future(
            self._push, self._snapshot(self._output_dir), commit_message, revision or self.args.hub_revision, options
        )
        return job.result() if blocking else job

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._staging is not None or not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        running = self.push_in_progress is not None and not self.push_in_progress.is_done()
        if running and not self.args.hub_always_push:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        steps = self.args.save_strategy == SaveStrategy.STEPS
        done = f"step {self.state.global_step}" if steps else f"epoch {int(self.state.epoch or 0)}"
        checkpoint = Path(checkpoint_folder)
        beside = {
            HubStrategy.CHECKPOINT: "last-checkpoint",
            HubStrategy.ALL_CHECKPOINTS: checkpoint.name,
        }.get(HubStrategy(self.args.hub_strategy))
        message = f"Training in progress, {done}"
        try:
            snapshot = self._snapshot(checkpoint)
        except (OSError, ValueError) as error:
            self._warn(message, error)
            return
        job = self._api.run_as_future(self._push_or_warn, snapshot, message, self.args.hub_revision, {}, beside)
        jobs = [] if self.push_in_progress is None else [job for job in self.push_in_progress.jobs if not job.done()]
        self.push_in_progress = PushInProgress(cast(Any, [*jobs, job]))

    @property
    def _api(self) -> HfApi:
        assert self._client is not None  # init_hf_repo has made it, on the only process that asks
        return self._client.api

    def _push_or_warn(
        self,
        folder: Path,
        message: str,
        revision: str | None,
        card_options: Arguments,
        checkpoint_name: str | None,
    ) -> CommitInfo | None:
        try:
            return self._push(folder, message, revision, card_options, checkpoint_name)
        # Whatever it is, training is worth more than a push on the way.
        except Exception as error:
            self._warn(message, error)
            return None

    def _warn(self, message: str, error: Exception) -> None:
        said = mask_secrets(str(error))
        logger.warning(f"A push to {self.hub_model_id} failed ({message}), and training goes on: {said}")

    def _push(
        self,
        folder: Path,
        message: str,
        revision: str | None,
        card_options: Arguments,
        checkpoint_name: str | None = None,
    ) -> CommitInfo:
        """Push a snapshot, and remove it. A thread runs this beside training: all that it reads is in the snapshot."""
        assert self._client is not None
        assert self.hub_model_id is not None
        try:
            with as_checkpoint(folder, self._output_dir.absolute().name) as view:
                files = published_files(view, origin=folder, repo_id=self.hub_model_id, **card_options)
                if checkpoint_name is not None:
                    files += _checkpoint_files(folder, checkpoint_name)
                result = push_files(files, self.hub_model_id, client=self._client, revision=revision, message=message)
            return result.commit
        finally:
            _remove(folder)

    def _snapshot(self, source: Path) -> Path:
        """Return a folder with the files that a checkpoint or the output folder has now, and with the run so far.

        The files are linked. The names in `source` may come to mean other files, or none, before they are pushed.

        Raises:
            ValueError: If one is a link to a file outside `source`, or no file.
        """
        refuse_foreign_files(source)
        folder = self._output_dir / SNAPSHOTS / uuid.uuid4().hex
        folder.mkdir(parents=True)
        for path in sorted(source.iterdir()):
            if path.is_file() and path.name not in (RUN_LOG, RUN_RECIPE):
                link_file(path.resolve(), folder / path.name)
        for name in _FOLDERS_OF_A_CARD:
            if (source / name).is_dir():
                shutil.copytree(source / name, folder / name, copy_function=_link)
        recipe = self._told_of_arguments() if self._recipe is None else dict(self._recipe)
        (folder / RUN_RECIPE).write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        if self.state.log_history:
            (folder / RUN_LOG).write_text(log_lines(self.state.log_history), encoding="utf-8")
        return folder

    def _told_of_arguments(self) -> JsonObject:
        """Return the recipe that gives these arguments, as far as it matters to others."""
        told: JsonObject = {}
        base = getattr(getattr(unwrap_peft_model(self.model), "config", None), "_name_or_path", "")
        if base:
            told["model_name_or_path"] = without_folders(str(base))
        for field in dataclasses.fields(self.args):
            value = getattr(self.args, field.name)
            value = value.value if isinstance(value, enum.Enum) else value
            plain = isinstance(value, bool | int | float | str) or (
                isinstance(value, list) and all(isinstance(item, str) for item in value)
            )
            if not plain or field.name.startswith(_NOT_TOLD) or "token" in field.name:
                continue
            if value != default_of(field) or field.name in _ALWAYS_TOLD:
                told[field.name] = without_folders(value) if isinstance(value, str) else value
        return told


def log_lines(log_history: Sequence[Mapping[str, object]]) -> str:
    """Write a training log as it is kept with a model: one JSON object per line."""
    return "".join(json.dumps(entry) + "\n" for entry in log_history)


def _card_options(
    language: str = "en",
    license: str = "apache-2.0",
    tags: str | Sequence[str] = (),
    model_name: str | None = None,
    finetuned_from: str | None = None,
    dataset: str | Sequence[str] = (),
) -> Arguments:
    """Return the arguments that Trainer has for a card, by the names that cards have for them."""
    return {
        "language": language,
        "license": license,
        "tags": [tags] if isinstance(tags, str) else list(tags),
        "model_name": model_name,
        "base_model": finetuned_from,
        "datasets": [dataset] if isinstance(dataset, str) else list(dataset),
    }


def _checkpoint_files(folder: Path, name: str) -> list[PublishedFile]:
    """Return the files that training can go on from: all of a checkpoint but the pickled arguments."""
    left_out = (_ARGUMENTS, FILE_LIST, RUN_LOG, RUN_RECIPE)
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name not in left_out]
    sizes = {path.name: path.stat().st_size for path in paths}
    files = [PublishedFile(f"{name}/{path.name}", path) for path in paths]
    return [*files, PublishedFile(f"{name}/{FILE_LIST}", json.dumps(sizes, indent=1, sort_keys=True).encode())]


def _link(source: str, target: str) -> None:
    link_file(Path(source).resolve(), Path(target))


def _remove(snapshot: Path) -> None:
    shutil.rmtree(snapshot, ignore_errors=True)
    remove_empty(snapshot.parent)  # unless another push is running
