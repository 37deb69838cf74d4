"""The verb ``demo``: from synthetic videos to a table that compares SeFAR with another encoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from encoder.training.train import train
from gym_qa.minigym import Renderer
from sefar_mllm.experiments.compare import CompareConfig, compare_on, prepare
from sefar_mllm.experiments.minigym import Size, budget, encoder_training
from sefar_mllm.experiments.stages import Stages


@dataclass(frozen=True)
class DemoConfig:
    """Train SeFAR, join it to a language model and compare it, on synthetic videos.

    The stages are those of ``make-minigym``, ``build-qa``, ``train-encoder`` and ``compare``. Stopped at any
    moment and started again, it goes on from the last finished stage.

    Attributes:
        size: tiny (under 3 minutes on two cores), mini (under 15) or full (for a GPU).
        output: folder of the run; by default runs/demo, for other sizes than mini with the size's name.
        data: folder of the rendered videos; by default data/minigym/SIZE.
        renderer: how the gymnasts look: body, or sticks, drawn in a third of the time.
        seed: everything follows from it.
    """

    size: Size = "mini"
    output: Path | None = None
    data: Path | None = None
    renderer: Renderer = "body"
    seed: int = 0


def run_demo(config: DemoConfig) -> None:
    """Run every stage, then print the table and say where the report is."""
    run = config.output or Path("runs") / ("demo" if config.size == "mini" else f"demo-{config.size}")
    encoder = run / "encoder"
    comparison = CompareConfig(
        encoders=[f"SeFAR=sefar:{encoder / 'teacher'}", "EfficientNet-Lite0=efficientnet-lite0"],
        output=run,
        size=config.size,
        data=config.data,
        renderer=config.renderer,
        seeds=1,
        seed=config.seed,
        # The encoders keep both cores busy; decoding these small videos takes little beside them.
        features={"precision": "bf16", "workers": 0},
        no_video=False,
        other_video=False,
        frame_orders=False,
        circular=False,
    )
    stages = Stages(run, {**asdict(replace(config, output=None)), **asdict(budget(config.size))})
    sources = prepare(comparison, stages)
    training = encoder_training(config.size, encoder, sources.val.parent, sources.videos.parent, config.seed)
    stages.do("train SeFAR", lambda: train(training))
    compare_on(comparison, sources, stages)
