# SPDX-License-Identifier: Apache-2.0
"""Questions about whole scenes, asked tile by tile, answered by layers on a map. Needs the extra `geodit[geo]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Literal

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.answering import ImageAnswerer, Inquiry
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.merging import MergeOptions
from geodit.pipelines.scenes.collecting import JobResult, collect
from geodit.pipelines.scenes.job import SceneJob, Tiling
from geodit.pipelines.scenes.journal import Journal
from geodit.pipelines.scenes.objects import ModelName
from geodit.pipelines.scenes.plan import Chunk, JobPlan
from geodit.pipelines.scenes.results import SceneResult
from geodit.pipelines.scenes.run import run_chunks
from geodit.pipelines.tile_answers import TileAnswers
from geodit.rasters.rendering import Rendering

__all__ = ["ScenePipeline"]


class ScenePipeline:
    """Asks about georeferenced rasters of any size, of which only tiles are ever in memory.

    Example:
        >>> from geodit import ScenePipeline
        >>> scenes = ScenePipeline("geodit-tiny", device="cpu")
        >>> found = scenes.predict("harbor.tif", queries=["ship", "storage tank"])
        >>> [(one.label, one.query) for one in found][:2]
        [('ship', 'ship'), ('ship', 'ship')]
        >>> ship = found.to_geojson()["features"][0]
        >>> ship["geometry"]["coordinates"][0][0]  # longitude and latitude of a corner
        [4.309..., 51.938...]

    Args:
        model: A [`GeoDiTPipeline`], what [`GeoDiTPipeline.from_pretrained`] takes for a checkpoint, or an
            [`ImageAnswerer`] of another engine.
        device: Where a checkpoint runs; by default a GPU if there is one.
        name: What results say of the model; by default where it was loaded from.
    """

    def __init__(
        self,
        model: GeoDiTPipeline | ImageAnswerer | str | PathLike[str],
        device: str | None = None,
        *,
        name: ModelName | None = None,
    ) -> None:
        if isinstance(model, GeoDiTPipeline | ImageAnswerer):
            if device is not None:
                raise ValueError("a pipeline has its device already: leave out device")
        else:
            name = name or ModelName(str(model))
            model = GeoDiTPipeline.from_pretrained(model, device=device)
        self.answerer: ImageAnswerer = model.answerer if isinstance(model, GeoDiTPipeline) else model
        self._pipeline = model if isinstance(model, GeoDiTPipeline) else None
        self.name = name or _name_of(getattr(self.answerer, "model", None))

    @property
    def pipeline(self) -> GeoDiTPipeline:
        """The pipeline of the model.

        Raises:
            AttributeError: If the model runs in another engine.
        """
        if self._pipeline is None:
            raise AttributeError("the model runs in another engine: there is no pipeline, only `answerer`")
        return self._pipeline

    def predict(
        self,
        image: str | PathLike[str],
        queries: str | Sequence[str] = "",
        *,
        task: str = "detect",
        choices: Sequence[str] | None = None,
        pattern: str | None = None,
        tile_size: int | Literal["auto"] | None = "auto",
        overlap: float = 0.25,
        gsd: float | None = None,
        full_image: bool = False,
        aoi: str | PathLike[str] | None = None,
        bands: Sequence[int] | None = None,
        rendering: Rendering | None = None,
        crs: str | None = None,
        merge: MergeOptions | None = None,
        retry_unparsed: bool = False,
        options: DecodingOptions | None = None,
        batch_size: int = 8,
        progress: Callable[[int, int], None] | None = None,
        **decoding: object,
    ) -> SceneResult:
        """Ask about all tiles of a raster. A tile is encoded once for all queries.

        Args:
            image: Path or address of a raster, as for [`~geodit.rasters.imagery.open_image`].
            queries: Classes to detect, or questions.
            task: A task of the model. Each tile is answered, whether by boxes or by a text.
            choices: The only answers that there are, for tasks that are answered by a text.
            pattern: A regular expression that all of an answer matches, in their place.
            tile_size: Side of a tile in pixels as the model sees it; `"auto"` for that of its training, `None` for the
                whole image at once.
            overlap: Share of a tile's side that neighbors have in common. Objects up to that length are seen whole.
            gsd: Ground sampling distance in meters at which the model sees a tile, best that of its training. By
                default pixels are taken as they are.
            full_image: Whether the whole image, reduced to a tile, is asked about as well.
            aoi: File of polygons; only tiles that touch them are asked about, and only boxes in them are kept.
            bands: The band to show as gray, or the three to show as red, green and blue, counted from 1.
            rendering: How bands become 8-bit RGB. Boxes do not lie where the raster has no data.
            crs: Reference system of a raster that has a transform and none.
            merge: How the detections of all tiles are merged.
            retry_unparsed: Whether answers that were not understood are asked for again, with one step a token.
            options: How to decode.
            batch_size: Tiles that are encoded at once, and questions that are answered at once.
            progress: Called with the number of tiles done and of all tiles.
            **decoding: Fields of [`~geodit.configuration.decoding_options.DecodingOptions`] that differ from
                `options`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read, or an argument is out of range.
        """
        inquiry = Inquiry(
            task,
            (queries,) if isinstance(queries, str) else tuple(queries),
            None if choices is None else tuple(choices),
            pattern,
            (options or DecodingOptions()).with_changes(**decoding),
        )
        tiling = Tiling(
            tile_size,
            overlap,
            gsd,
            full_image,
            None if aoi is None else str(aoi),
        )
        job = SceneJob(
            (str(image),),
            inquiry,
            tiling,
            None if bands is None else tuple(bands),
            rendering or Rendering(),
            crs,
            retry_unparsed,
            batch_size,
        )
        (result,) = self.run(job, merge=merge, progress=progress)
        return result

    def plan(self, job: SceneJob, *, look_at_all: bool = False) -> JobPlan:
        """Check a job and find its tiles.

        Args:
            job: The job.
            look_at_all: Whether images that are not seen in tiles are opened now as well, to know where they are.

        Raises:
            FileNotFoundError: If there is no such image.
            ValueError: If an image cannot be opened, or the model cannot be asked this.
        """
        answerer = self.answerer
        answerer.check(job.inquiry)
        task = job.inquiry.task
        if job.tiling.tile_size is not None and answerer.has_boxes(task) and not answerer.lists_objects(task):
            raise ValueError(
                f"tile_size is for tasks that list objects or are answered by a text; {task} is about the whole image"
            )
        job = replace(job, tiling=job.tiling.resolve(answerer.tile_side))
        return JobPlan.make(job, answerer.image_side, look_at_all=look_at_all)

    def fingerprint(self, plan: JobPlan) -> JsonObject:
        """Return all that the answers of a job depend on, for a [`Journal`]."""
        answerer = self.answerer
        facts = {"dtype": answerer.dtype, "box_score": answerer.box_score}
        if answerer.engine is not None:
            facts["engine"] = answerer.engine
        return {**self.name.fingerprint(), **facts, **plan.job.fingerprint()}

    def run(
        self,
        job: SceneJob | JobPlan,
        *,
        merge: MergeOptions | None = None,
        journal: Journal | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> JobResult:
        """Run a job in this process.

        Args:
            job: The job, or its plan.
            merge: How the detections of all tiles are merged.
            journal: Where answers go as they come, and those of an earlier run are taken from.
            progress: Called with the number of tiles done and of all tiles.

        Raises:
            FileNotFoundError, ValueError: If an image cannot be opened and the job is not to go on then, or the model
                cannot be asked this.
            OSError: If the journal cannot be written.
        """
        plan = job if isinstance(job, JobPlan) else self.plan(job)
        return self.collect(plan, self.answer(plan, journal=journal, progress=progress), merge)

    def answer(
        self,
        plan: JobPlan,
        chunks: Sequence[Chunk] | None = None,
        *,
        journal: Journal | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[list[TileAnswers]]:
        """Answer some chunks of a job; see [`run`].

        Args:
            plan: The plan of the job.
            chunks: Which; by default all.
            journal: As for [`run`].
            progress: Likewise, with the tiles of these chunks.
        """
        chunks = plan.chunks() if chunks is None else chunks
        total = sum(len(chunk.tiles) for chunk in chunks)
        report = None if progress is None else (lambda done: progress(done, total))
        return list(run_chunks(self.answerer, plan, chunks, journal=journal, progress=report))

    def collect(
        self, plan: JobPlan, answers: Iterable[Sequence[TileAnswers]], merge: MergeOptions | None = None
    ) -> JobResult:
        """Put the answers of all chunks of a job together, whoever has given them."""
        has_boxes = self.answerer.has_boxes(plan.job.inquiry.task)
        return collect(plan, answers, merge or MergeOptions(), self.name, has_boxes)

    def __call__(
        self,
        path: str | PathLike[str],
        query: str,
        *,
        tile_size: int,
        task: str = "detect",
        overlap: float = 0.25,
        bands: Sequence[int] | None = None,
        rendering: Rendering | None = None,
        merge: MergeOptions | None = None,
        options: DecodingOptions | None = None,
        batch_size: int = 8,
        progress: Callable[[int, int], None] | None = None,
        **decoding: object,
    ) -> SceneResult:
        """Ask one query of a raster that has a place on Earth; [`predict`] does the same and more.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read or has no place on Earth, or an argument is out of range.
        """
        result = self.predict(
            path,
            query,
            task=task,
            tile_size=tile_size,
            overlap=overlap,
            bands=bands,
            rendering=rendering,
            merge=merge,
            options=(options or DecodingOptions()).with_changes(**decoding),
            batch_size=batch_size,
            progress=progress,
        )
        if result.georeference is None:
            raise ValueError(f"{path} has no place on Earth that can be read: use predict, or give it a crs")
        return result


def _name_of(model: object) -> ModelName:
    """Return where a model was loaded from, as far as it says so."""
    name = str(getattr(model, "name_or_path", ""))
    commit = getattr(getattr(model, "config", None), "_commit_hash", None)
    return ModelName(name, commit, (name,) if name and Path(name).is_dir() else ())
