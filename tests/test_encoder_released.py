"""``import-released``: files as the released code writes them, made of our network by the inverse names."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from encoder.errors import EncoderError
from encoder.model.released import ImportReleasedConfig, import_released
from encoder.model.sefar import SefarEncoder
from sefar_mllm.cli import main

SHAPE = {"image_size": 64, "patch_size": 16, "dim": 128, "depth": 2, "heads": 2}
HEADS = {
    "head.pair.0": "post_fusion1",
    "head.pair.2": "ln1",
    "head.single.0": "post_fusion0",
    "head.single.2": "ln2",
    "head.fuse.0": "global_fusion",
    "head.fuse.2": "ln3",
    "head.classifier": "fc",
}


def network(seed: int = 0) -> SefarEncoder:
    torch.manual_seed(seed)
    made = SefarEncoder(7, SHAPE, mean=(0.45,) * 3, std=(0.225,) * 3, crop=1.0).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def released(made: SefarEncoder) -> dict[str, torch.Tensor]:
    """The state under the released names and in its shapes."""
    state: dict[str, torch.Tensor] = {}
    for name, value in made.state_dict().items():
        layer, _, kind = name.rpartition(".")
        if layer in HEADS:
            state[f"{HEADS[layer]}.{kind}"] = value
        elif name == "backbone.time_embed":
            for number, slots in enumerate(made.elements.slots):
                state[f"vit.model.time_embed.{number}"] = value[list(slots)][None]
        else:
            new = name.removeprefix("backbone.").replace("temporal_norm.", "temporal_norm1.")
            new = new.replace("fc1.", "mlp.fc1.").replace("fc2.", "mlp.fc2.")
            if new.startswith("patch_embed"):
                new = new.replace("patch_embed", "patch_embed.proj")
                value = value.view(len(value), 3, 16, 16) if kind == "weight" else value
            state[f"vit.model.{new}"] = value[None, None] if new == "cls_token" else value
    state["vit.model.pos_embed"] = state["vit.model.pos_embed"][None]
    return state


def write(path: Path, state: dict[str, torch.Tensor], size: int = 64) -> Path:
    cfg = f"DATA:\n  TRAIN_CROP_SIZE: {size}\nMODEL:\n  NUM_CLASSES: 7\n"
    torch.save({"epoch": 29, "model_state": state, "optimizer_state": {}, "cfg": cfg}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_imported_network_gives_the_same_logits(tmp_path, prefix):
    made = network()
    file = write(tmp_path / "released.pyth", {prefix + k: v for k, v in released(made).items()})
    assert main(["import-released", str(file), str(tmp_path / "sefar")]) == 0
    loaded = SefarEncoder.from_pretrained(tmp_path / "sefar").eval()
    assert (loaded.mean, loaded.std, loaded.crop, str(loaded.elements)) == (
        (0.45,) * 3,
        (0.225,) * 3,
        1.0,
        "2-2-4",
    )
    x = torch.randn(2, 8, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), made(x), rtol=0, atol=0)


def test_a_smaller_input_takes_the_nearest_positions(tmp_path):
    made = network()
    file = write(tmp_path / "released.pyth", released(made), size=32)
    loaded = SefarEncoder.from_pretrained(import_released(ImportReleasedConfig(file, tmp_path / "sefar")))
    assert loaded.shape.image_size == 32
    grid = made.backbone.pos_embed[1:].T.reshape(1, 128, 4, 4)
    expected = F.interpolate(grid, scale_factor=0.5, mode="nearest").flatten(2)[0].T
    torch.testing.assert_close(loaded.backbone.pos_embed[1:], expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("ln3.bias"), "lacks head.fuse.2.bias"),
        (lambda state: state.update({"vit.model.head.weight": torch.zeros(3)}), "also holds head.weight"),
        (lambda state: state.pop("vit.model.pos_embed"), "holds no network of SeFAR's released code"),
        (lambda state: state.update({"fc.weight": torch.zeros(7, 3)}), "size mismatch for head.classifier"),
    ],
)
def test_another_network_is_refused_by_name(tmp_path, change, message):
    state = released(network())
    change(state)
    with pytest.raises(EncoderError, match=message):
        import_released(ImportReleasedConfig(write(tmp_path / "f.pyth", state), tmp_path / "sefar"))
    assert not (tmp_path / "sefar").exists()


def test_a_file_that_would_run_code_is_not_loaded(tmp_path):
    class Runs:
        def __reduce__(self):
            return (print, ("run",))

    (tmp_path / "bad.pyth").write_bytes(pickle.dumps({"model_state": Runs()}, protocol=2))
    with pytest.raises(EncoderError, match="nothing else is loaded"):
        import_released(ImportReleasedConfig(tmp_path / "bad.pyth", tmp_path / "sefar"))
    with pytest.raises(EncoderError, match="no such file"):
        import_released(ImportReleasedConfig(tmp_path / "none.pyth", tmp_path / "sefar"))
