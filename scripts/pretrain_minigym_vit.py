"""Train MiniGym's starting weights: a small image ViT that finds a gymnast's joints in single frames.

The frames are of other MiniGym seeds than any data set uses, and no action label is ever read: the only
targets are the joints. Each patch token says which joints lie in its patch and where, which is learned fast;
and every token of the last layer, the class token and each patch token alike, has to tell the whole pose, so
that attention over time at one place can compare poses.

Half of the clips are drawn as sticks and half as bodies, so that one file of weights serves both renderers.

    python scripts/pretrain_minigym_vit.py --output encoder/weights
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from jsonargparse import auto_cli
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from gym_qa.minigym.body import JOINTS
from gym_qa.minigym.dataset import render_clip
from gym_qa.minigym.draw import Renderer
from gym_qa.minigym.schedule import ClipPlan, plan

FRAME_PX = 112
RENDERERS = get_args(Renderer)
FIRST_SEED = 1_000_000  # far from the seeds of any data set


@dataclass(frozen=True)
class PretrainConfig:
    """Pre-train the small image ViT that MiniGym's encoders start from.

    Attributes:
        output: folder for ``minigym_vit.safetensors``, ``minigym_vit.json`` and ``minigym_vit_log.jsonl``.
        clips: clips rendered, of which 4 % are held out.
        frames_per_clip: random frames taken of each.
        start: weights of an earlier run to go on from, whose log is kept; random where None.
        epochs: passes over the frames.
        batch_size: frames a step.
        learning_rate: peak of the one-cycle schedule.
        img_size: pixels a side of what the network sees.
        depth: blocks.
        seed: everything follows from it.
        workers: rendering processes.
    """

    output: Path = Path("encoder/weights")
    clips: int = 24000
    frames_per_clip: int = 5
    start: Path | None = None
    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 1e-3
    img_size: int = 80
    patch_size: int = 16
    embed_dim: int = 192
    depth: int = 4
    num_heads: int = 3
    seed: int = 0
    workers: int = 2


class JointFinder(nn.Module):
    """An image ViT with two linear read-outs, each shared by all tokens.

    ``(B, 3, H, W)`` → the whole pose from every token ``(B, 1 + P, 17, 3)``, and from every patch token a
    logit for each joint's presence in the patch and its place there in patch sides ``(B, P, 17, 3)``.
    """

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.vit = VisionTransformer(
            img_size=config.img_size,
            patch_size=config.patch_size,
            embed_dim=config.embed_dim,
            depth=config.depth,
            num_heads=config.num_heads,
            num_classes=0,
        )
        self.pose = nn.Linear(config.embed_dim, len(JOINTS) * 3)
        self.local = nn.Linear(config.embed_dim, len(JOINTS) * 3)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.vit.forward_features(images)
        shape = (len(JOINTS), 3)
        return self.pose(tokens).unflatten(-1, shape), self.local(tokens[:, 1:]).unflatten(-1, shape)


def pose_loss(pose: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Smooth L1 of the class token plus that of the patch tokens; ``target`` is ``(B, 17, 3)``.

    Joints count twice, once by their place in the picture and once by that in the body: actions are told
    apart by the latter, which is the smaller part of the former.
    """
    target = target[:, None].expand_as(pose)
    total = pose.new_zeros(())
    for found, wanted in ((pose, target), (_centred(pose), _centred(target))):
        error = F.smooth_l1_loss(found, wanted, beta=0.02, reduction="none")
        total = total + error[:, 0].mean() + error[:, 1:].mean()
    return total


def _centred(pose: torch.Tensor) -> torch.Tensor:
    return pose - pose.mean(-2, keepdim=True)


def local_loss(local: torch.Tensor, target: torch.Tensor, grid: int) -> torch.Tensor:
    """Half of: cross-entropy of which patch holds a joint, plus the distance of its place there."""
    place = target[..., :2] * grid
    cell = place.floor().long()
    inside = ((cell >= 0) & (cell < grid)).all(-1)
    index = (cell[..., 1] * grid + cell[..., 0]).clamp(0, grid * grid - 1)
    present = torch.zeros(local.shape[:3]).scatter_(1, index[:, None], inside[:, None].float())
    presence = F.binary_cross_entropy_with_logits(local[..., 0], present, pos_weight=torch.tensor(8.0))
    where = local[..., 1:].gather(1, index[:, None, :, None].expand(-1, 1, -1, 2))[:, 0]
    distance = ((where - (place - cell - 0.5)).abs() * inside[..., None]).mean()
    return 0.5 * (presence + distance)


def _frames_of(job: tuple[ClipPlan, int, Renderer]) -> tuple[np.ndarray, np.ndarray]:
    clip, count, renderer = job
    chosen = np.sort(np.random.default_rng(clip.seeds[2]).choice(clip.frames, count, replace=False))
    return render_clip(clip, FRAME_PX, chosen, renderer)


def render_frames(config: PretrainConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``(N, H, W, 3)`` uint8 frames, ``(N, 17, 3)`` joints and ``(N,)`` renderers by number, in turns.

    Clips of one source video stay together.
    """
    clips = plan(config.clips, 100, FIRST_SEED + config.seed).train
    jobs = [(clip, config.frames_per_clip, RENDERERS[i % len(RENDERERS)]) for i, clip in enumerate(clips)]
    with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
        made = list(
            tqdm(pool.map(_frames_of, jobs, chunksize=32), total=len(jobs), desc="rendering", unit="clip")
        )
    frames, joints = (np.concatenate(part) for part in zip(*made, strict=True))
    drawn = (torch.arange(len(jobs)) % len(RENDERERS)).repeat_interleave(config.frames_per_clip)
    return torch.from_numpy(frames), torch.from_numpy(joints).float(), drawn


def random_crop(frames: torch.Tensor, joints: torch.Tensor, px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A random square of 75 to 100 % of the side, and the joints in its coordinates (0 to 1, y down)."""
    n = len(frames)
    side = torch.empty(n).uniform_(0.75, 1.0)
    left, top = torch.rand(n) * (1 - side), torch.rand(n) * (1 - side)
    zero = torch.zeros(n)
    theta = torch.stack([side, zero, 2 * left + side - 1, zero, side, 2 * top + side - 1], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, [n, 3, px, px], align_corners=False)
    images = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    moved = joints.clone()
    moved[..., 0] = (joints[..., 0] - left[:, None]) / side[:, None]
    moved[..., 1] = (joints[..., 1] - top[:, None]) / side[:, None]
    return images, moved


def batches(count: int, size: int) -> Iterator[torch.Tensor]:
    """Random order, the last partial batch left out."""
    yield from torch.randperm(count).split(size)[: count // size]


@torch.no_grad()
def held_out_error(
    model: JointFinder, frames: torch.Tensor, joints: torch.Tensor, px: int
) -> tuple[float, float]:
    """Mean distance in pixels of the input, from the class token and from the patch tokens."""
    model.eval()
    distances = []
    for f, j in zip(frames.split(256), joints.split(256), strict=True):
        images, target = random_crop(f, j, px)
        distances.append((model(images)[0][..., :2] - target[:, None, :, :2]).norm(dim=-1).mean((0, 2)) * px)
    model.train()
    mean = torch.stack(distances).mean(0)
    return mean[0].item(), mean[1:].mean().item()


def pretrain(config: PretrainConfig) -> None:
    """Render, train, and write weights, facts and log."""
    torch.manual_seed(config.seed)
    frames, joints, drawn = render_frames(config)
    held = len(frames) // 25
    model = JointFinder(config)
    earlier = ""
    if config.start:
        model.vit.load_state_dict(load_file(config.start))
        earlier = config.start.with_name(f"{config.start.stem}_log.jsonl").read_text(encoding="utf-8")
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.05)
    steps = config.epochs * ((len(frames) - held) // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps, pct_start=0.1
    )
    config.output.mkdir(parents=True, exist_ok=True)
    log, begun, step = [], time.time(), 0
    for epoch in range(config.epochs):
        running = 0.0
        for index in tqdm(
            batches(len(frames) - held, config.batch_size), total=steps // config.epochs, unit="step"
        ):
            images, target = random_crop(frames[index + held], joints[index + held], config.img_size)
            with torch.autocast("cpu", torch.bfloat16):
                pose, local = model(images)
            loss = pose_loss(pose.float(), target)
            loss = loss + local_loss(local.float(), target, config.img_size // config.patch_size)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            running, step = running + loss.item(), step + 1
        log.append({"epoch": epoch + 1, "step": step, "loss": round(running * config.epochs / steps, 5)})
        for number, renderer in enumerate(RENDERERS):
            of = (drawn[:held] == number).nonzero()[:, 0]
            cls_px, patch_px = held_out_error(model, frames[of], joints[of], config.img_size)
            log[-1][f"held_out_{renderer}_class_token_px"] = round(cls_px, 2)
            log[-1][f"held_out_{renderer}_patch_tokens_px"] = round(patch_px, 2)
        log[-1]["seconds"] = round(time.time() - begun)
        print(json.dumps(log[-1]), flush=True)
        if not math.isfinite(running):
            sys.exit(f"error: the loss is not finite in epoch {epoch + 1}; lower the learning rate")
        save(model, config, earlier, log)


def save(model: JointFinder, config: PretrainConfig, earlier: str, log: list[dict]) -> None:
    """Half-precision weights under timm's names, the facts needed to rebuild the network, and the log."""
    weights = {name: tensor.half().contiguous() for name, tensor in model.vit.state_dict().items()}
    temporary = config.output / "minigym_vit.tmp"
    save_file(weights, temporary)
    temporary.replace(config.output / "minigym_vit.safetensors")
    facts = {k: getattr(config, k) for k in ("img_size", "patch_size", "embed_dim", "depth", "num_heads")}
    facts |= {
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "trained_on": "joints of synthetic MiniGym frames, no action label",
    }
    settings = {k: v for k, v in asdict(config).items() if k not in ("output", "start")}
    versions = {"torch": torch.__version__.split("+")[0]}
    (config.output / "minigym_vit.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    lines = [{"config": settings, "frame_px": FRAME_PX, "first_seed": FIRST_SEED, "versions": versions}, *log]
    text = earlier + "".join(json.dumps(line) + "\n" for line in lines)
    (config.output / "minigym_vit_log.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    pretrain(auto_cli(PretrainConfig, as_positional=False))
