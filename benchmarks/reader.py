"""Reading and augmenting clips against the plain way, and what files for reading are worth, in one run.

First, clips of 2 s and 480 lines in H.264 are made on the spot. The baseline, written here for the purpose,
seeks and decodes one frame at a time at full size, element by element, sixteen times a clip (eight frames for
each of two views), and resizes and crops every frame by itself. Ours decodes each clip once, at the size that
is needed, and crops in batches. Both use as many worker processes and make two views of the same size.

Second, the frames of one film (a camera moves over a photograph) are read from files of several kinds, as
``sefar-mllm cut-clips`` writes them, and from the frame cache, by one process: eight frames drawn as in
training. The baseline is the clip at the film's size with x264's own key frames.

    python benchmarks/reader.py
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from encoder.loading.augment import AugmentConfig, Views
from encoder.loading.cache import FrameCache
from encoder.loading.data import ClipStream, FrameSource, training_batches
from encoder.video.clips import Clip
from encoder.video.elements import TemporalElements
from gym_qa.cutting.one_clip import Encoding, cut_clip, open_source

MEAN_STD = (0.5, 0.5, 0.5)


def write_clip(path: Path, seed: int, seconds: float, lines: int, fps: int = 25) -> None:
    """A clip of texture that drifts under a moving figure, with x264's own choice of key frames."""
    rng = np.random.default_rng(seed)
    width = lines * 16 // 9 // 2 * 2
    coarse = Image.fromarray(rng.integers(0, 255, (lines // 8, width // 6, 3), dtype=np.uint8))
    wall = np.asarray(coarse.resize((width + 200, lines), Image.Resampling.BICUBIC)).copy()
    wall = np.clip(wall + rng.normal(0, 6, wall.shape), 0, 255).astype(np.uint8)
    n = round(seconds * fps)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, lines, "yuv420p"
        for i in range(n):
            image = wall[:, 2 * i : 2 * i + width].copy()
            top, left = round(lines * 0.3 * (1 + np.sin(i / 6))), round((width - 120) * i / n)
            image[top : top + 160, left : left + 90] = 255 - image[top : top + 160, left : left + 90]
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        container.mux(stream.encode(None))


class OneFrameAtATime(Dataset[Any]):
    """The baseline: both views of a clip, each frame sought, decoded, resized and cropped alone."""

    def __init__(self, clips: list[Clip], elements: TemporalElements, size: int) -> None:
        self.clips, self.elements, self.size = clips, elements, size

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        import decord  # after torch: loaded before it, its libraries take the place of torch's BLAS

        generator = torch.Generator().manual_seed(i)
        video = decord.VideoReader(str(self.clips[i].path), decord.cpu(0), num_threads=1)
        return self._view(video, generator), self._view(video, generator)

    def _view(self, video: Any, generator: torch.Generator) -> Tensor:
        short = int(torch.randint(256, 321, (), generator=generator)) * self.size // 224
        x, y = torch.rand(2, generator=generator).tolist()
        indices, frames = self.elements.sample(len(video), generator), []
        for slot in (slot for element in self.elements.slots for slot in element):
            video.seek_accurate(indices[slot])
            image = Image.fromarray(video.next().asnumpy())
            scale = short / min(image.size)
            image = image.resize((round(image.width * scale), round(image.height * scale)))
            left, top = round(x * (image.width - self.size)), round(y * (image.height - self.size))
            pixels = np.asarray(image.crop((left, top, left + self.size, top + self.size)))
            frames.append((torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255 - 0.5) / 0.5)
        return torch.stack(frames)


def baseline(
    clips: list[Clip], elements: TemporalElements, batch: int, workers: int, size: int
) -> Iterator[Any]:
    """Batches of both views, the plain way."""
    yield from DataLoader(OneFrameAtATime(clips, elements, size), batch_size=batch, num_workers=workers)


def ours(
    clips: list[Clip], elements: TemporalElements, batch: int, workers: int, size: int, reader: str
) -> Iterator[Any]:
    """Batches of both views, as training makes them."""
    views = Views(AugmentConfig(), size, MEAN_STD, MEAN_STD)
    stream = ClipStream(clips, FrameSource(320 * size // 224, reader), elements, seed=0)
    updates = range(len(clips) // batch)
    for part in training_batches(stream, batch, updates, range(1), 1, workers):
        assert not part.broken, part.broken
        yield views.weak(part.frames, part.sizes), views.flipped(part.frames, part.sizes)


def write_film(path: Path, seconds: float, lines: int, fps: int = 25) -> None:
    """A camera that moves over a photograph and past a figure: texture as videos have it, unlike noise."""
    photograph = Image.fromarray(load_sample_images().images[0])
    width, n = lines * 16 // 9 // 2 * 2, round(seconds * fps)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, lines, "yuv420p"
        for i in range(n):
            x, y = 40 + 39 * np.sin(i / 21), 40 + 29 * np.cos(i / 34)
            part = x, y, x + 560, y + 315
            image = np.asarray(photograph.resize((width, lines), Image.Resampling.BICUBIC, part)).copy()
            top, left = round(lines * 0.3 * (1 + np.sin(i / 6))), round(width * 0.4 * (1 + np.sin(i / 17)))
            figure = image[top : top + lines // 4, left : left + lines // 8]
            figure[:] = 255 - figure
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        container.mux(stream.encode(None))


def files(folder: Path, n: int, lines: int) -> dict[str, tuple[FrameSource, list[Clip]]]:
    """The same clips of 1.6 s, the mean of Gym99, in every kind of file and in frame caches."""
    write_film(folder / "film.mp4", 1.6 * n, lines)
    film = open_source(folder / "film.mp4", 25)
    kinds = {
        f"{lines} lines": Encoding(),
        "320 lines": Encoding(short_side=320),
        "320 lines, GOP 8": Encoding(short_side=320, gop=8),
        "256 lines, GOP 8": Encoding(short_side=256, gop=8),
        "256 lines, key frames only": Encoding(short_side=256, gop=1),
    }
    found: dict[str, tuple[FrameSource, list[Clip]]] = {}
    for number, (name, encoding) in enumerate(kinds.items()):
        clips = [Clip(folder / f"{number}-{i}.mp4", 0) for i in range(n)]
        for i, clip in enumerate(clips):
            cut_clip(film, range(40 * i, 40 * (i + 1)), clip.path, 4, encoding)
        found[name] = FrameSource(encoding.short_side or 320), clips
    clips = found[f"{lines} lines"][1]
    for side, quality in ((320, 85), (256, 85), (256, 75), (256, None)):
        cache = FrameCache.build(folder / "cache", clips, side, quality=quality)
        name = "raw" if quality is None else f"JPEG {quality}"
        found[f"frame cache, {side} lines, {name}"] = FrameSource(side, cache=cache), clips
    return found


def compare_files(folder: Path, n: int, lines: int, rounds: int) -> None:
    """Prints a row for every kind of file."""
    elements = TemporalElements()
    kinds = files(folder, n, lines)
    least = dict.fromkeys(kinds, float("inf"))
    for turn in range(rounds):
        for name, (source, clips) in kinds.items():
            used = processor_seconds()
            for i, clip in enumerate(clips):
                seed = turn * n + i
                source.read(clip, lambda f, s=seed: elements.sample(f, torch.Generator().manual_seed(s)))
            least[name] = min(least[name], (processor_seconds() - used) / n)
    baseline = least[f"{lines} lines"]
    print(f"\n{n} clips of 1.6 s, eight frames of each, one process; baseline: {lines} lines, GOP 250")
    for name, seconds in least.items():
        source, clips = kinds[name]
        size = source.cache.bytes if source.cache else sum(clip.path.stat().st_size for clip in clips)
        print(
            f"  {name:<34}{1000 * seconds:>7.1f} ms of processor a clip, {baseline / seconds:>6.1f} × less; "
            f"{size / n / 1e3:>6.0f} kB, 26,320 clips {26320 * size / n / 1e9:.1f} GB"
        )
    print("goal: at most 2 ms a clip from a cache of at most 60 GB")


def processor_seconds() -> float:
    """Of this process and of the workers that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def seconds(batches: Iterator[Any]) -> tuple[float, float]:
    """Wall and processor seconds a clip, from the start of the workers to the last view."""
    begun, used, clips = time.perf_counter(), processor_seconds(), 0
    for weak, strong in batches:
        assert weak.shape == strong.shape
        clips += len(weak)
    return (time.perf_counter() - begun) / clips, (processor_seconds() - used) / clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--lines", type=int, default=480)
    parser.add_argument("--size", type=int, default=224, help="side of the views in pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="timed turns of each; the fastest is compared")
    parser.add_argument("--film-clips", type=int, default=8, help="clips of the film, of every kind of file")
    parser.add_argument("--film-lines", type=int, default=1080)
    options = parser.parse_args()
    elements = TemporalElements()
    with tempfile.TemporaryDirectory() as folder:
        clips = [Clip(Path(folder) / f"{i}.mp4", 0) for i in range(options.clips)]
        for i, clip in enumerate(clips):
            write_clip(clip.path, i, options.seconds, options.lines)
        size = sum(clip.path.stat().st_size for clip in clips) / len(clips) / 1e3
        print(
            f"{options.clips} clips of {options.seconds:g} s, {options.lines} lines, {size:.0f} kB each; "
            f"{options.workers} workers, views of {options.size} px"
        )
        least = {name: (float("inf"), float("inf")) for name in ("baseline", "decord", "pyav")}
        shared = clips, elements, options.batch, options.workers, options.size
        for _ in range(options.rounds):
            for name in least:
                batches = baseline(*shared) if name == "baseline" else ours(*shared, name)
                wall, processor = seconds(batches)
                least[name] = min(least[name][0], wall), min(least[name][1], processor)
    for name, (wall, processor) in least.items():
        print(
            f"  {name:<10}{1 / wall:>8.1f} clips/s, {least['baseline'][0] / wall:.2f} × baseline; "
            f"{1000 * processor:.0f} ms of processor a clip, {least['baseline'][1] / processor:.2f} × less"
        )
    print("goal: at least 3 × baseline on two cores, with the default reader (pyav)")
    with tempfile.TemporaryDirectory() as folder:
        compare_files(Path(folder), options.film_clips, options.film_lines, options.rounds)


if __name__ == "__main__":
    main()
