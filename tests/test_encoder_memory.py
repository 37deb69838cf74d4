"""The memory of encoder training: the formula against what autograd keeps on a fake device, and the verb."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_cuda import fake_cuda
from jsonargparse import auto_cli

from encoder.model.backbone import ViTShape
from encoder.model.sefar import SefarEncoder
from encoder.training.config import TrainConfig
from encoder.training.memory import GB, clip_activations, network_size, training_memory
from encoder.video.elements import TemporalElements
from sefar_mllm.cli import main
from sefar_mllm.doctor.fits import LIBRARIES

CONFIGS = Path(__file__).parents[1] / "configs/encoder"


def kept(shape: dict[str, int], elements: str, clips: int, bf16: bool) -> int:
    """Bytes of the storages that autograd keeps of a forward pass with feature dropout, weights aside."""
    with fake_cuda():
        network = SefarEncoder(99, shape, elements).train().to("cuda")
        weights = {p.untyped_storage()._cdata for p in network.parameters()}
        storages = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                storages[storage._cdata] = storage  # held, so that no address comes back
            return tensor

        side = network.shape.image_size
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            frames = torch.zeros(clips, network.elements.n_frames, 3, side, side, device="cuda")
            network(frames, 0.2)
        return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("shape", "elements"),
    [
        ({"dim": 384, "heads": 6, "depth": 2}, "2-2-4"),
        ({"dim": 768, "heads": 12, "depth": 3}, "8"),
        ({"dim": 192, "heads": 3, "depth": 2, "image_size": 112, "mlp_ratio": 2.0}, "4-4"),
    ],
)
def test_autograd_keeps_of_a_clip_what_the_formula_says(shape, elements, bf16):
    counted = kept(shape, elements, 3, bf16) - kept(shape, elements, 1, bf16)
    expected = clip_activations(ViTShape(**shape), TemporalElements.parse(elements), 2 if bf16 else 4)
    assert 2 * expected == pytest.approx(counted, rel=0.01)


def shipped(name: str) -> TrainConfig:
    return auto_cli(TrainConfig, args=["--config", str(CONFIGS / name)])


@pytest.mark.parametrize(("name", "weights"), [("gym99-s", 31_264_227), ("gym99-b", 122_269_539)])
def test_weights_by_hand(name, weights):
    config = shipped(f"{name}.yaml")
    assert network_size(config.model)[1] == weights
    # Student, gradient, momentum and teacher, and the copies that products take in bf16.
    assert training_memory(config).weights == weights * (4 + 4 + 4 + 4 + 2)


def test_more_of_anything_takes_more():
    config = shipped("gym99-s.yaml")
    base = training_memory(config)
    assert training_memory(replace(config, accumulate=1)).activations == pytest.approx(
        config.accumulate * base.activations
    )
    assert training_memory(config, processes=4).activations == pytest.approx(base.activations / 4, rel=0.01)
    assert training_memory(replace(config, mixed_precision="no")).total > 1.5 * base.total
    less = replace(config.model, gradient_checkpointing=True)
    assert training_memory(replace(config, model=less)).activations < 0.25 * base.activations


@pytest.mark.parametrize("path", CONFIGS.glob("gym99-*.yaml"), ids=lambda path: path.stem)
def test_the_shipped_files_say_what_they_need(path, capsys):
    """What stands in their heads is what the doctor says, and fits the GPUs that are named."""
    head = " ".join(line.lstrip("# ") for line in path.read_text("utf-8").splitlines() if line[0] == "#")
    own = re.search(r"one GPU of 24 GB .*?needs ([\d.]+) GB", head)
    larger = re.search(r"48 or 80 GB .*?accumulate: (\d+) needs ([\d.]+) GB", head)
    assert f"sefar-mllm doctor --encoder configs/encoder/{path.name}" in head
    config = shipped(path.name)
    for accumulate, said in ((config.accumulate, own[1]), (int(larger[1]), larger[2])):
        needed = training_memory(replace(config, accumulate=accumulate)).total + LIBRARIES
        assert f"{needed / GB:.1f}" == said
    given = ["doctor", "--encoder", str(path), "--device", "cuda", "--memory"]
    assert main([*given, "24"]) == 0
    assert f"{float(own[1]):6.1f}" in capsys.readouterr().out
    assert main([*given, "16"]) == 2
    assert "of 16.0 GB; try a larger --accumulate" in capsys.readouterr().err


def test_the_doctor_reports_both_stages(tmp_path, capsys):
    report = tmp_path / "doctor.json"
    encoder = ["--encoder", str(CONFIGS / "gym99-s.yaml"), "--processes", "4"]
    model = ["--language-model", str(CONFIGS.parent / "mllm/vicuna-7b-shape"), "--load-in-4bit"]
    rest = ["--device", "cuda", "--precision", "bf16", "--memory", "24", "--output", str(report)]
    assert main(["doctor", *encoder, *model, *rest]) == 0
    assert "64 labelled clips in 4 parts on 4 GPUs" in capsys.readouterr().out
    found = json.loads(report.read_text("utf-8"))
    assert found["encoder_memory"]["processes"] == 4
    assert found["encoder_memory"]["fits"]
    assert found["memory"]["fits"]
    parts = ("weights", "activations", "pictures", "workspace")
    assert found["encoder_memory"]["peak"] == pytest.approx(
        sum(found["encoder_memory"][name] for name in parts)
    )
    assert main(["doctor", "--encoder", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: no such file" in capsys.readouterr().err
