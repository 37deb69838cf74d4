"""The network against the paper's sizes, a slow reference and the image networks it starts from."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from encoder_videos import write_video
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from encoder.errors import EncoderError
from encoder.loading.augment import AugmentConfig
from encoder.model.backbone import PRESETS
from encoder.model.head import FusionHead
from encoder.model.sefar import SefarEncoder
from encoder.model.starting_weights import load_starting_weights
from encoder.training.build import build_encoder, build_optimizer
from encoder.training.config import ModelConfig, OptimConfig
from encoder.video.clips import ClassInfo, Clip
from encoder.video.reader import read_clip
from encoder.visual.factory import open_encoder

TINY = {"image_size": 32, "patch_size": 16, "dim": 24, "depth": 3, "heads": 3}
CLASSES = [ClassInfo(str(i)) for i in range(5)]


def tiny_encoder(elements="2-2-4", seed=0, **options):
    torch.manual_seed(seed)
    model = SefarEncoder(5, TINY, elements, **options)
    with torch.no_grad():  # the zeros of the start would hide what temporal attention does
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(("preset", "expected"), [("S", 31_264_227), ("B", 122_269_539)])
def test_parameter_counts_are_the_papers(preset, expected):
    model = SefarEncoder(99, asdict(PRESETS[preset]))
    assert sum(p.numel() for p in model.parameters()) == expected


def attention(layer, x):
    """Plain softmax attention over the tokens of ``(n, d)``."""
    d = x.shape[1]
    q, k, v = (
        F.linear(x, layer.qkv.weight, layer.qkv.bias).view(len(x), 3, layer.heads, d // layer.heads).unbind(1)
    )
    heads = []
    for h in range(layer.heads):
        weights = (q[:, h] @ k[:, h].T / (d // layer.heads) ** 0.5).softmax(1)
        heads.append(weights @ v[:, h])
    return F.linear(torch.cat(heads, 1), layer.proj.weight, layer.proj.bias)


def slow_element(backbone, frames, time):
    """TimeSformer on one clip and one element, token by token: frames (k, C, H, W) → CLS token (D,)."""
    p, d = backbone.shape.patch_size, backbone.shape.dim
    k, n = len(frames), backbone.shape.n_patches
    x = F.conv2d(frames, backbone.patch_embed.weight.view(d, 3, p, p), backbone.patch_embed.bias, stride=p)
    x = x.flatten(2).transpose(1, 2) + backbone.pos_embed[1:] + time[:, None]
    cls = backbone.cls_token + backbone.pos_embed[0]
    for block in backbone.blocks:
        x = x + torch.stack(
            [
                block.temporal_fc(attention(block.temporal_attn, block.temporal_norm(x[:, i])))
                for i in range(n)
            ],
            1,
        )
        within = [attention(block.attn, block.norm1(torch.cat([cls[None], x[t]]))) for t in range(k)]
        cls = cls + torch.stack([w[0] for w in within]).mean(0)
        x = x + torch.stack([w[1:] for w in within])
        mlp = lambda z, b=block: b.fc2(F.gelu(b.fc1(b.norm2(z))))  # noqa: E731
        cls, x = cls + mlp(cls), x + mlp(x)
    return backbone.norm(cls)


@pytest.mark.parametrize("elements", ["2-2-4", "8", "4-4"])
def test_all_elements_in_one_pass_equal_one_pass_for_each(elements):
    model = tiny_encoder(elements).eval()
    frames = torch.randn(2, 8, 3, 32, 32)
    with torch.no_grad():
        fast = model.backbone.element_tokens(model.backbone(frames))
        for b in range(2):
            for e, slots in enumerate(model.elements.slots):
                slots = list(slots)
                slow = slow_element(model.backbone, frames[b, slots], model.backbone.time_embed[slots])
                torch.testing.assert_close(fast[b, e], slow, rtol=1e-4, atol=1e-4)


def test_fusion_head_against_its_definition():
    head = FusionHead(dim=6, n_elements=3, num_classes=4, width=8).eval()
    e = torch.randn(2, 3, 6)
    pairs = [head.pair(torch.cat([e[:, i], e[:, j]], 1)) for i, j in ((0, 1), (0, 2), (1, 2))]
    singles = [head.single(e[:, i]) for i in range(3)]
    torch.testing.assert_close(head(e), head.classifier(head.fuse(torch.cat(pairs + singles, 1))))


def test_one_element_has_no_pairs():
    assert tiny_encoder("8").head.pair is None
    assert tiny_encoder("8")(torch.randn(1, 8, 3, 32, 32)).shape == (1, 5)


def test_gradient_checkpointing_changes_no_gradient():
    frames, grads = torch.randn(2, 8, 3, 32, 32), []
    for checkpointing in (False, True):
        model = tiny_encoder(drop_path=0.5).train()
        model.backbone.gradient_checkpointing = checkpointing
        torch.manual_seed(1)
        model(frames, 0.2).square().sum().backward()
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def save_timm(model, folder, **cfg):
    """A folder that timm reads back as ``local-dir:FOLDER``."""
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": "vit_tiny_patch16_224", **cfg}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


VARIANTS = {
    "plain": {},
    "clip": {"pre_norm": True, "norm_layer": "layernorm", "act_layer": "quick_gelu"},
    "dinov2": {"init_values": 0.1},
    "no_class_position": {"no_embed_class": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fresh_network_is_the_image_network_on_every_frame(variant, tmp_path):
    torch.manual_seed(0)
    args = {
        "img_size": 32,
        "patch_size": 16,
        "embed_dim": 24,
        "depth": 3,
        "num_heads": 3,
        **VARIANTS[variant],
    }
    image = timm.create_model("vit_tiny_patch16_224", num_classes=0, **args).eval()
    with torch.no_grad():
        for parameter in image.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    pretrained = {
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "input_size": [3, 32, 32],
        "num_classes": 0,
    }
    save_timm(image, tmp_path / "vit", num_classes=0, pretrained_cfg=pretrained, model_args=args)
    config = ModelConfig(weights=f"local-dir:{tmp_path / 'vit'}", image_size=32)
    video = build_encoder(config, CLASSES, AugmentConfig()).eval()
    assert video.mean == (0.1, 0.2, 0.3)
    assert video.std == (0.4, 0.5, 0.6)
    frame = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = image.forward_features(frame)
        tokens = video.backbone(frame[:, None].expand(-1, 8, -1, -1, -1))
    for slot in range(8):
        torch.testing.assert_close(tokens[:, slot], expected, rtol=1e-4, atol=1e-4)


def vit_file(tmp_path, **changes):
    args = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 3}
    torch.manual_seed(0)
    image = VisionTransformer(num_classes=0, **args)
    with torch.no_grad():
        image.pos_embed.normal_()
    save_file(image.state_dict(), tmp_path / "vit.safetensors")
    facts = {**args, "mean": [0.5] * 3, "std": [0.5] * 3, **changes}
    (tmp_path / "vit.json").write_text(json.dumps(facts), encoding="utf-8")
    return image, str(tmp_path / "vit.safetensors")


def test_positions_are_resized_as_timm_does(tmp_path):
    image, path = vit_file(tmp_path)
    ours = load_starting_weights(path).for_video(image_size=64)["pos_embed"]
    image.set_input_size(img_size=64)
    torch.testing.assert_close(ours, image.pos_embed[0])


def test_temporal_attention_starts_as_spatial_attention(tmp_path):
    _, path = vit_file(tmp_path)
    model = build_encoder(ModelConfig(weights=path, image_size=32), CLASSES, AugmentConfig())
    for block in model.backbone.blocks:
        assert torch.equal(block.temporal_attn.qkv.weight, block.attn.qkv.weight)
        assert torch.equal(block.temporal_norm.weight, block.norm1.weight)
        assert not block.temporal_fc.weight.any()
    assert not model.backbone.time_embed.any()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: (p / "vit.json").unlink(), "vit.json: no such file"),
        (lambda p: (p / "vit.json").write_text("{}", encoding="utf-8"), "expected img_size"),
        (lambda p: (p / "vit.safetensors").write_bytes(b"no tensors"), "not a whole safetensors"),
        (lambda p: save_file({"a": torch.zeros(1)}, p / "vit.safetensors"), "no tensor 'patch_embed"),
    ],
)
def test_bad_starting_weights_are_named(spoil, message, tmp_path):
    _, path = vit_file(tmp_path)
    spoil(tmp_path)
    with pytest.raises(EncoderError, match=message):
        build_encoder(ModelConfig(weights=path, image_size=32), CLASSES, AugmentConfig())


def test_weights_that_are_not_a_plain_vit_are_refused(tmp_path):
    image, path = vit_file(tmp_path)
    save_file({**image.state_dict(), "reg_token": torch.zeros(1, 4, 24)}, path)
    with pytest.raises(EncoderError, match="no place for reg_token"):
        build_encoder(ModelConfig(weights=path, image_size=32), CLASSES, AugmentConfig())


def test_a_shape_that_contradicts_the_weights_is_refused(tmp_path):
    _, path = vit_file(tmp_path)
    with pytest.raises(EncoderError, match=r"model\.dim: 48 was asked for"):
        build_encoder(ModelConfig(weights=path, image_size=32, dim=48), CLASSES, AugmentConfig())


def test_saved_and_loaded_is_the_same(tmp_path):
    model = tiny_encoder(classes=list("abcde"), crop=0.9, mean=(0.1, 0.2, 0.3)).eval()
    model.save_pretrained(tmp_path / "encoder")
    again = SefarEncoder.from_pretrained(tmp_path / "encoder").eval()
    frames = torch.randint(0, 256, (2, 8, 40, 48, 3), dtype=torch.uint8)
    assert again.classes == list("abcde")
    with torch.no_grad():
        assert torch.equal(model(model.transform(frames)), again(again.transform(frames)))


def test_a_video_in_three_lines_gives_the_features_that_are_stored_for_it(tmp_path):
    tiny_encoder(classes=list("abcde")).save_pretrained(tmp_path / "encoder")
    rng = np.random.default_rng(0)
    video = write_video(tmp_path / "clip.mp4", rng.integers(0, 256, (21, 48, 64, 3), dtype=np.uint8))

    sefar = SefarEncoder.from_pretrained(tmp_path / "encoder").eval()
    with torch.no_grad():
        feature = sefar.clip_feature(sefar.transform(sefar.read(video)))

    stored = open_encoder(f"sefar:{tmp_path / 'encoder'}?tokens=clip", "cpu")
    whole = torch.from_numpy(read_clip(Clip(video, -1)))
    expected = stored.encode(stored.transform(whole[stored.sampling.sample(len(whole))][None]))
    assert feature.shape == (1, 256)
    torch.testing.assert_close(feature, expected[:, 0])


def test_only_what_an_image_network_has_learned_learns_slowly():
    model = tiny_encoder()
    groups = build_optimizer(OptimConfig(learning_rate=1.0, backbone_scale=0.1), model).param_groups
    found = {id(p): (group["scale"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        fresh = name.startswith("head.") or "time_embed" in name or "temporal" in name
        decay = 1e-3 if parameter.dim() > 1 else 0.0
        assert found[id(parameter)] == (1.0 if fresh else 0.1, decay), name
