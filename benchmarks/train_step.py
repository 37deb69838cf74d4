"""SeFAR's semi-supervised update against the plain way of computing the same thing, in one run.

The baseline, written here for the purpose, does as the released code: it sends every weak clip K times
through the whole teacher, computes attention as softmax(QKᵀ)V, step by step, and adds up all losses before
the backward pass. All take turns; the fastest of each is compared. Also: the teacher's time for 20
predictions against 1. On CPU in float32; on a CUDA device the baseline in float32, as released, and in
bfloat16, and SeFAR in bfloat16.

Before that, an estimate by count (benchmarks/step_cost.py) of what these take on an H100; for it no GPU is
needed.

    python benchmarks/train_step.py                                             # SeFAR-S, 224 px
    python benchmarks/train_step.py --preset tiny --image-size 64               # in seconds
    python benchmarks/train_step.py --labelled 64 --parts 8 --estimate          # by count alone
    python benchmarks/train_step.py --labelled 64 --parts 8 --device cuda       # the paper's update, 80 GB
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from step_cost import H100, Cost, cost
from torch import Tensor, nn

from encoder.loading.augment import AugmentConfig, Views
from encoder.loading.data import Batch
from encoder.model.backbone import Attention
from encoder.model.sefar import SefarEncoder
from encoder.recipes.sefar import Sefar, SefarOptions
from encoder.recipes.teacher import PseudoLabels, pseudo_labels
from encoder.training.build import build_encoder
from encoder.training.config import ModelConfig
from encoder.video.clips import ClassInfo

CLASSES = 99


class PlainAttention(Attention):
    """The same weights and result as :class:`Attention`, every intermediate written out."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        b, n, s, d = x.shape
        order = (3, 0, 2, 4, 1, 5) if self.axis == 1 else (3, 0, 1, 4, 2, 5)
        q, k, v = self.qkv(x).view(b, n, s, 3, self.heads, d // self.heads).permute(order).unbind(0)
        scores = q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        y = scores.softmax(-1) @ v
        y = y.permute(0, 3, 1, 2, 4) if self.axis == 1 else y.transpose(2, 3)
        return self.proj(y.reshape(b, n, s, d))


class PlainSefar(Sefar):
    """SeFAR whose teacher runs as a whole for every prediction."""

    @torch.no_grad()
    def pseudo_labels(self, weak: Tensor) -> PseudoLabels:
        network = self.teacher.network
        network.head.train()  # for its dropout; nothing else in it differs
        logits = [network(weak) for _ in range(self.options.predictions)]
        network.head.eval()
        return pseudo_labels(torch.stack(logits))


def plain(model: nn.Module) -> None:
    """Makes every attention of a network a plain one."""
    for module in model.modules():
        if isinstance(module, Attention):
            module.__class__ = PlainAttention


@dataclass(frozen=True)
class Setting:
    """Where, at what size and in how many parts an update is computed."""

    device: torch.device
    dtype: torch.dtype
    model: ModelConfig
    labelled: int
    unlabelled: int
    parts: int = 1
    compiled: bool = False

    def autocast(self) -> torch.autocast:
        """The precision of this setting."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def clips(self, n: int) -> Batch:
        """Random decoded clips of a short side a quarter larger than the network's input."""
        side = self.model.image_size * 5 // 4
        frames = torch.randint(0, 256, (n, 8, side, side * 4 // 3, 3), dtype=torch.uint8)
        sizes = torch.tensor(frames.shape[2:4]).expand(n, 2)
        return Batch(frames, sizes, torch.arange(n) % CLASSES, [str(i) for i in range(n)], []).to(self.device)


def network(setting: Setting) -> SefarEncoder:
    """A network from the same random weights every time."""
    torch.manual_seed(0)
    classes = [ClassInfo(str(i)) for i in range(CLASSES)]
    return build_encoder(setting.model, classes, AugmentConfig()).to(setting.device)


def update(setting: Setting, recipe_class: type[Sefar], predictions: int) -> Callable[[], None]:
    """One whole update as a function: views, teacher, losses, gradients, optimizer, average."""
    student = network(setting).train()
    views = Views(AugmentConfig(), setting.model.image_size, student.mean, student.std)
    recipe = recipe_class(student, views, SefarOptions(warmup_epochs=0, predictions=predictions), epochs=2)
    recipe.teacher.to(setting.device)
    if recipe_class is PlainSefar:
        plain(student)
        plain(recipe.teacher)
    elif setting.compiled:
        student.backbone.compile()
        recipe.teacher.network.backbone.compile()
    fused = setting.device.type == "cuda"
    optimizer = torch.optim.SGD(student.parameters(), 1e-4, momentum=0.9, nesterov=True, fused=fused)
    labelled = setting.clips(setting.labelled // setting.parts)
    unlabelled = setting.clips(setting.unlabelled // setting.parts)

    def together() -> None:
        with setting.autocast():
            losses, _ = recipe.losses(student, labelled, unlabelled, epoch=1)
        torch.stack(list(losses.values())).sum().backward()

    def singly() -> None:
        terms = recipe.terms(student, labelled, unlabelled, epoch=1)
        for _ in recipe.loss_names(unlabelled):
            with setting.autocast():
                term = next(terms)
            term.loss.backward()

    def run() -> None:
        torch.manual_seed(1)
        for _ in range(setting.parts):
            together() if recipe_class is PlainSefar else singly()
        optimizer.step()
        optimizer.zero_grad()
        recipe.after_update(1)

    return run


def estimate(setting: Setting, predictions: int) -> dict[str, Cost]:
    """What the networks cost in an update of the baseline and of SeFAR, by count, on an H100."""
    bfloat16, float32 = torch.bfloat16, torch.float32
    rows = {
        "baseline, float32": (True, float32, predictions),
        "baseline, bfloat16": (True, bfloat16, predictions),
        "SeFAR, bfloat16": (False, bfloat16, 1),
    }
    student, side = network(replace(setting, device=torch.device("cpu"))), setting.model.image_size
    found = {}
    for name, (plainly, dtype, passes) in rows.items():
        if plainly:
            plain(student)
        else:
            student = network(replace(setting, device=torch.device("cpu")))

        def frames(clips: int) -> Tensor:
            return torch.zeros(clips // setting.parts, 8, 3, side, side)

        def update(dtype: torch.dtype = dtype, passes: int = passes, student: SefarEncoder = student) -> None:
            precision = torch.autocast("cpu", dtype, enabled=dtype != torch.float32)
            for _ in range(setting.parts):
                with torch.no_grad(), precision:
                    for _ in range(passes):
                        student.eval().clip_feature(frames(setting.unlabelled))
                student.train()
                for clips in (setting.labelled, setting.unlabelled, setting.unlabelled):
                    with precision:
                        logits = student(frames(clips))
                    logits.float().sum().backward()
            student.zero_grad()

        found[name] = cost(update)
    return found


def teacher(setting: Setting, predictions: int) -> Callable[[], object]:
    """The teacher's predictions for the unlabelled clips as a function."""
    student = network(setting)
    views = Views(AugmentConfig(), setting.model.image_size, student.mean, student.std)
    recipe = Sefar(student, views, SefarOptions(), epochs=6)
    recipe.teacher.to(setting.device)
    clips = setting.clips(setting.unlabelled)
    weak = views.weak(clips.frames, clips.sizes)

    def run() -> object:
        with setting.autocast():
            return recipe.teacher.label(weak, predictions)

    return run


def fastest(
    runs: dict[str, Callable[[], object]], steps: int, device: torch.device
) -> dict[str, list[float]]:
    """Least wall and processor seconds of each, in turn, after one that does not count."""
    least = {name: [float("inf")] * 2 for name in runs}
    for step in range(steps + 1):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            if step:
                least[name] = [min(a, b) for a, b in zip(least[name], spent, strict=True)]
    return least


def compare(title: str, times: dict[str, list[float]], slow: str, quick: str, goal: str) -> None:
    """Prints both times and their ratios."""
    print(f"{title}\n  {'':<28}{'wall ms':>10}{'processor ms':>14}")
    for name, spent in times.items():
        print(f"  {name:<28}{1000 * spent[0]:>10.1f}{1000 * spent[1]:>14.1f}")
    for name in times:
        if name.startswith(slow):
            wall, cpu = (a / b for a, b in zip(times[name], times[quick], strict=True))
            print(f"  {name} / {quick}: {wall:.2f} by wall time, {cpu:.2f} by processor time (goal: {goal})")
    print(end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--preset", choices=["tiny", "S", "B"], default="S")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--labelled", type=int, default=1, help="labelled clips in an update")
    parser.add_argument("--ratio", type=int, default=3, help="unlabelled clips for each labelled one")
    parser.add_argument("--predictions", type=int, default=10, help="K of the update")
    parser.add_argument("--steps", type=int, default=3, help="timed updates of each")
    parser.add_argument("--parts", type=int, default=1, help="parts of an update, to save memory")
    parser.add_argument("--compile", action="store_true", help="compile SeFAR's student and teacher")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="by default every one there is")
    parser.add_argument("--estimate", action="store_true", help="count, and measure nothing")
    options = parser.parse_args()
    if options.labelled % options.parts:
        parser.error(f"--parts {options.parts}: {options.labelled} labelled clips cannot be shared by them")
    model = ModelConfig(preset=options.preset, image_size=options.image_size)
    sizes = options.labelled, options.labelled * options.ratio, options.parts, options.compile
    tell_estimate(Setting(torch.device("cpu"), torch.float32, model, *sizes), options.predictions)
    there = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for name in [] if options.estimate else [options.device] if options.device else there:
        dtype = torch.bfloat16 if name == "cuda" else torch.float32
        measure(Setting(torch.device(name), dtype, model, *sizes), options.predictions, options.steps)


def tell_estimate(setting: Setting, predictions: int) -> None:
    """Prints what is to be expected of an H100."""
    found = estimate(setting, predictions)
    print(f"{title(setting)}: estimate by count for {H100.name}, nothing measured, K = {predictions}")
    for name, spent in found.items():
        print(f"  {name:<28}{spent}")
    ours = found["SeFAR, bfloat16"]
    for name, spent in list(found.items())[:-1]:
        print(
            f"  {name} / SeFAR: {spent.seconds / ours.seconds:.1f} by time, "
            f"{spent.operations / ours.operations:.1f} by operations"
        )
    print(end="", flush=True)


def title(setting: Setting) -> str:
    """What is computed."""
    parts = f" in {setting.parts} parts" if setting.parts > 1 else ""
    return (
        f"SeFAR-{setting.model.preset}, {setting.model.image_size} px, "
        f"{setting.labelled} + {setting.unlabelled} clips{parts}"
    )


def measure(setting: Setting, k: int, steps: int) -> None:
    """Measures and prints the update and the teacher."""
    device = setting.device
    on_gpu = device.type == "cuda"
    place = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{title(setting)}, {place}, {_name(setting.dtype)}, torch {torch.__version__}")
    plainly = [torch.float32, torch.bfloat16] if on_gpu else [setting.dtype]
    runs: dict[str, Callable[[], object]] = {
        f"baseline, {_name(dtype)}": update(replace(setting, dtype=dtype), PlainSefar, k) for dtype in plainly
    }
    runs["SeFAR"] = update(setting, Sefar, k)
    goal = "at least 1.8 for S on CPU, 4 on a GPU"
    compare(f"update, K = {k}", fastest(runs, steps, device), "baseline", "SeFAR", goal)
    runs = {
        f"K = {k}": teacher(replace(setting, unlabelled=setting.unlabelled // setting.parts), k)
        for k in (1, 20)
    }
    compare("teacher", fastest(runs, 2 * steps, device), "K = 20", "K = 1", "at most 1.1")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main()
