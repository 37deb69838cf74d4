"""Visual encoders: SeFAR's and timm's."""

import json
import shutil

import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from timm.data import create_transform, resolve_data_config

from encoder.errors import EncoderError
from encoder.model.sefar import SefarEncoder
from encoder.visual.base import GRID, pool_grid
from encoder.visual.factory import open_encoder
from encoder.visual.image import lite0_weights


def frames(b=2) -> torch.Tensor:
    return torch.randint(
        0, 256, (b, 8, 40, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


# Image models ---------------------------------------------------------------------------------------------


def test_the_packaged_weights_fill_timms_network_exactly():
    weights = lite0_weights()
    expected = timm.create_model("tf_efficientnet_lite0").state_dict()
    assert weights.keys() == expected.keys()
    assert all(weights[name].shape == expected[name].shape for name in expected)


@pytest.mark.parametrize(("picture", "label"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_the_packaged_weights_recognise_pictures(picture, label):
    """ImageNet 698 is a palace, 985 a daisy."""
    encoder = open_encoder("efficientnet-lite0")
    x = encoder.transform(torch.from_numpy(load_sample_image(picture).copy())[None, None])
    with torch.no_grad():
        assert int(encoder.network(x[:, 0]).argmax()) == label


def test_the_transform_is_timms_own():
    from PIL import Image

    encoder = open_encoder("efficientnet-lite0")
    picture = load_sample_image("china.jpg")
    theirs = create_transform(**resolve_data_config({}, model=encoder.network))(Image.fromarray(picture))
    ours = encoder.transform(torch.from_numpy(picture.copy())[None, None])[0, 0]
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().mean() < 0.005  # of a range of 2; PIL rounds to whole grey levels


def test_image_tokens_are_frame_by_frame():
    encoder = open_encoder("efficientnet-lite0?image_size=64&grid=1")
    assert (encoder.dim, encoder.num_tokens) == (1280, 8)
    x = encoder.transform(frames())
    tokens = encoder.encode(x)
    assert tokens.shape == (2, 8, 1280)
    one = encoder.encode(x[1:, 3:4])
    torch.testing.assert_close(tokens[1, 3], one[0, 0], rtol=1e-3, atol=1e-4)
    grid = open_encoder("efficientnet-lite0?image_size=64")
    assert grid.dim == 4 * 1280
    assert grid.encode(x).shape == (2, 8, 4 * 1280)


def test_a_vit_of_timm_and_its_grid(tmp_path):
    args = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 2}
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, **args)
    save_file(vit.state_dict(), tmp_path / "model.safetensors")
    cfg = {"input_size": [3, 32, 32], "mean": [0.1] * 3, "std": [0.2] * 3, "crop_pct": 1.0, "num_classes": 0}
    content = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 0,
        "pretrained_cfg": cfg,
        "model_args": args,
    }
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    encoder = open_encoder(f"timm:local-dir:{tmp_path}?grid=2")
    x = encoder.transform(frames(1))
    vit.eval()
    with torch.no_grad():
        patches = vit.forward_features(x[0])[:, 1:].view(8, 4, 4, 12)
    cells = [patches[:, r : r + 2, c : c + 2].mean((1, 2)) for r in (0, 2) for c in (0, 2)]
    torch.testing.assert_close(encoder.encode(x)[0], torch.cat(cells, 1))
    larger = open_encoder(f"timm:local-dir:{tmp_path}?grid=1&image_size=48")
    x = larger.transform(frames(1))
    vit.set_input_size(img_size=48)
    with torch.no_grad():
        torch.testing.assert_close(larger.encode(x)[0], vit(x[0]))
    with pytest.raises(EncoderError, match="image_size must be a multiple of its patches of 8 px"):
        open_encoder(f"timm:local-dir:{tmp_path}?image_size=50")


def test_pooling_keeps_position():
    patches = torch.arange(36.0).view(1, 6, 6, 1)
    slow = [patches[0, r : r + 3, c : c + 3].mean() for r in (0, 3) for c in (0, 3)]
    torch.testing.assert_close(pool_grid(patches, 2)[0], torch.stack(slow))


# SeFAR ----------------------------------------------------------------------------------------------------


def test_what_sefar_hands_over(sefar):
    network = SefarEncoder.from_pretrained(sefar).eval()
    x = network.transform(frames())
    with torch.no_grad():
        tokens = network.backbone(x)
        clip = network.clip_feature(x)
    grid = tokens[:, :, 1:].reshape(2, 8, 4, 4, 12)
    cells = [grid[:, :, r : r + 2, c : c + 2].mean((2, 3)) for r in (0, 2) for c in (0, 2)]
    owner = {slot: e for e, slots in enumerate(network.elements.slots) for slot in slots}
    elements = network.backbone.element_tokens(tokens)
    of_frame = torch.stack([elements[:, owner[slot]] for slot in range(8)], 1)
    expected = {
        "frames": torch.cat(cells, -1),
        "elements": elements,
        "clip": clip[:, None],
        "all": torch.cat([*cells, of_frame, clip[:, None].expand(-1, 8, -1)], -1),
    }
    for name, value in expected.items():
        encoder = open_encoder(f"sefar:{sefar}?tokens={name}")
        torch.testing.assert_close(encoder.encode(encoder.transform(frames())), value)
        assert (encoder.num_tokens, encoder.dim) == value.shape[1:]
    torch.testing.assert_close(open_encoder(f"sefar:{sefar}").encode(x), expected["frames"])


def test_all_encoders_look_at_the_same_frames(sefar):
    middles = [(2 * i + 1) * 40 // 16 for i in range(8)]
    for spec in (f"sefar:{sefar}", "efficientnet-lite0?image_size=32"):
        assert open_encoder(spec).sampling.sample(40) == middles


def test_the_fingerprint_tells_weights_and_use_apart(sefar, tmp_path):
    base = open_encoder(f"sefar:{sefar}").fingerprint
    assert open_encoder(f"sefar:{sefar}").fingerprint == base
    prints = {base}
    for option in ("tokens=clip", "tokens=all", "grid=4"):
        prints.add(open_encoder(f"sefar:{sefar}?{option}").fingerprint)
    network = SefarEncoder.from_pretrained(sefar)
    with torch.no_grad():
        network.head.classifier.bias[0] += 1e-3
    network.save_pretrained(tmp_path / "other")
    prints.add(open_encoder(f"sefar:{tmp_path / 'other'}").fingerprint)
    config = json.loads((sefar / "config.json").read_text(encoding="utf-8"))
    shutil.copytree(sefar, tmp_path / "whole")
    (tmp_path / "whole" / "config.json").write_text(json.dumps({**config, "crop": 1.0}), encoding="utf-8")
    prints.add(open_encoder(f"sefar:{tmp_path / 'whole'}").fingerprint)
    assert len(prints) == 6
    lite = {open_encoder(f"efficientnet-lite0?image_size={s}").fingerprint for s in (32, 64)}
    assert len(lite) == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sefar", "expected 'sefar:FOLDER'"),
        ("clip", "expected 'sefar:FOLDER'"),
        ("sefar:/nowhere", "/nowhere: not a SeFAR encoder"),
        ("sefar:{}?tokens=patches", "tokens must be one of frames, elements, clip, all"),
        ("sefar:{}?grid=0", "grid must be a whole number"),
        ("sefar:{}?grid=9", "4 × 4 patches only"),
        ("sefar:{}?size=9", "no option 'size'"),
        ("efficientnet-lite0?tokens=clip", "no option 'tokens'"),
        ("timm:no_such_model", "timm could not load it"),
    ],
)
def test_bad_specs_are_named(spec, message, sefar):
    with pytest.raises(EncoderError, match=message):
        open_encoder(spec.format(sefar))


def test_a_runs_folder_points_to_its_networks(sefar, tmp_path):
    with pytest.raises(EncoderError, match="not a SeFAR encoder; expected config"):
        open_encoder(f"sefar:{tmp_path}")
    (tmp_path / "teacher").symlink_to(sefar)
    with pytest.raises(EncoderError, match=r"name .*/teacher"):
        open_encoder(f"sefar:{tmp_path}")


def test_damaged_weights_are_named(sefar, tmp_path):
    network = SefarEncoder.from_pretrained(sefar)
    network.save_pretrained(tmp_path / "cut")
    path = tmp_path / "cut" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EncoderError, match=r"cut: config\.json and model"):
        open_encoder(f"sefar:{tmp_path / 'cut'}")


def test_every_encoder_is_given_the_same_grid(sefar):
    """A comparison in which one encoder alone keeps places apart would not be one."""
    grids = {open_encoder(spec).grid for spec in (f"sefar:{sefar}", "efficientnet-lite0?image_size=64")}  # type: ignore[attr-defined]
    assert grids == {GRID}
