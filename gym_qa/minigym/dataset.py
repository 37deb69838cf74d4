"""MiniGym on disk: FineGym-format annotations, real H.264 clips and a contact sheet, all from one seed."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from gym_qa.errors import GymQAError
from gym_qa.files import write_text, written_whole
from gym_qa.minigym.draw import Renderer, render
from gym_qa.minigym.elements import ELEMENTS
from gym_qa.minigym.motion import perform
from gym_qa.minigym.scene import Athlete, Scene
from gym_qa.minigym.schedule import FPS, ClipPlan, plan, write_annotation


@dataclass(frozen=True)
class Size:
    """How many training and validation clips, and how many pixels a side."""

    train: int
    val: int
    px: int


SIZES = {"tiny": Size(420, 210, 112), "mini": Size(3000, 900, 112), "full": Size(30000, 6000, 224)}


@dataclass(frozen=True)
class MiniGymConfig:
    """Render MiniGym, a synthetic fine-grained gymnastics data set.

    Attributes:
        output: folder to write; clips that are already there and whole are kept.
        size: ``tiny`` (630 clips), ``mini`` (3,900) or ``full`` (36,000 clips of 224 px).
        seed: everything follows from it.
        videos: also render the clips; without it only the annotation files are written.
        workers: rendering processes; 0 means one per processor.
        renderer: how the gymnast looks: the skinned surface of a real parametric ``body``, or ``sticks``,
            drawn in a third of the time; movements, cameras and annotation are the same.
    """

    output: Path = Path("data/minigym/mini")
    size: str = "mini"
    seed: int = 0
    videos: bool = True
    workers: int = 0
    renderer: Renderer = "body"


Job = tuple[ClipPlan, int, str, Renderer]


def make_minigym(config: MiniGymConfig) -> Path:
    """Write the data set and return its folder.

    Raises:
        GymQAError: for an unknown size, or a folder that holds another size, seed or renderer.
    """
    if config.size not in SIZES:
        raise GymQAError(f"size {config.size!r}: expected one of {', '.join(SIZES)}")
    size, folder = SIZES[config.size], Path(config.output)
    card = {
        "synthetic": True,
        "size": config.size,
        "seed": config.seed,
        **asdict(size),
        "fps": FPS,
        "renderer": config.renderer,
        "version": 1,
    }
    _claim(folder, card)
    schedule = plan(size.train, size.val, config.seed)
    write_annotation(schedule, folder)
    if config.videos:
        clips = schedule.train + schedule.val
        todo = [clip for clip in clips if not video_path(folder, clip).exists()]
        (folder / "videos").mkdir(exist_ok=True)
        jobs = [(clip, size.px, str(video_path(folder, clip)), config.renderer) for clip in todo]
        for _ in tqdm(
            _in_parallel(jobs, config.workers),
            total=len(jobs),
            desc="rendering MiniGym",
            unit="clip",
            disable=not jobs,
        ):
            pass
        sheet = folder / "contact_sheet.png"
        if not sheet.exists():
            write_contact_sheet(schedule.train, size.px, sheet, config.renderer)
    return folder


def _claim(folder: Path, card: dict) -> None:
    """Write ``minigym.json``, or check that it is of the same size, seed and renderer."""
    path = folder / "minigym.json"
    if path.exists():
        found = {"renderer": "sticks", **json.loads(path.read_text(encoding="utf-8"))}  # the first there was
        if found != card:
            raise GymQAError(
                f"{path}: holds another MiniGym ({found}); expected {card}. "
                "Choose another output folder, or the size, seed and renderer that it holds."
            )
        return
    write_text(path, json.dumps(card, indent=1) + "\n")


def video_path(folder: Path, clip: ClipPlan) -> Path:
    """Where a clip's H.264 file is."""
    return folder / "videos" / f"{clip.clip_id}.mp4"


def _in_parallel(jobs: list[Job], workers: int) -> Iterator[None]:
    """Render jobs on ``workers`` processes (spawned, so that no thread's state is copied)."""
    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(jobs) < 32:
        yield from map(_render_to_file, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_render_to_file, jobs, chunksize=8)


def _render_to_file(job: Job) -> None:
    clip, px, path, renderer = job
    frames, _ = render_clip(clip, px, renderer=renderer)
    write_video(Path(path), frames)


@lru_cache(maxsize=64)
def _scene(seed: int, px: int) -> Scene:
    return Scene.draw(np.random.default_rng(seed), px)


def render_clip(
    clip: ClipPlan, px: int, only: np.ndarray | None = None, renderer: Renderer = "sticks"
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a planned clip.

    Args:
        clip: from ``plan``.
        px: pixels a side.
        only: indices of the frames to draw; all where None.
        renderer: how the gymnast looks.

    Returns:
        ``(T, px, px, 3)`` uint8 frames and ``(T, 17, 3)`` joints as ``draw.render`` gives them.
    """
    venue, athlete_seed, seed = clip.seeds
    rng = np.random.default_rng(seed)
    athlete = Athlete.draw(np.random.default_rng(athlete_seed))
    time = np.linspace(rng.uniform(0.0, 0.13), rng.uniform(0.88, 1.0), clip.frames)
    element = ELEMENTS[clip.label]
    world = perform(element, time, rng, athlete.stature)
    return render(world, element.event, athlete, _scene(venue, px), px, rng, only, renderer)


def write_video(path: Path, frames: np.ndarray) -> None:
    """Encode ``(T, H, W, 3)`` uint8 frames as H.264 at ``FPS``; the file appears only when it is whole."""
    with written_whole(path) as temporary, av.open(str(temporary.absolute()), "w", format="mp4") as container:
        # cpu-independent: without it x264's rate control is not repeatable to the last bit
        options = {"preset": "veryfast", "crf": "20", "x264-params": "threads=1:cpu-independent=1"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_contact_sheet(
    clips: list[ClipPlan], px: int, path: Path, renderer: Renderer, moments: int = 8, cell: int = 56
) -> None:
    """A picture with one clip of every class: eight moments in a row under the class's name, two columns."""
    from PIL import Image, ImageDraw, ImageFont

    first = {clip.label: clip for clip in reversed(clips)}
    rows, title = (len(ELEMENTS) + 1) // 2, 15
    sheet = Image.new("RGB", (2 * (moments * cell + 12), rows * (cell + title)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for label, element in enumerate(ELEMENTS):
        x, y = (label // rows) * (moments * cell + 12), (label % rows) * (cell + title)
        pen.text((x + 2, y), textwrap.shorten(element.name, 68, placeholder=" …"), fill="black", font=font)
        clip = first[label]
        chosen = ((np.arange(moments) + 0.5) * clip.frames / moments).astype(int)
        for i, frame in enumerate(render_clip(clip, px, chosen, renderer)[0]):
            sheet.paste(Image.fromarray(frame).resize((cell, cell)), (x + i * cell, y + title))
    with written_whole(path) as temporary:
        sheet.save(temporary, format="png")
