"""A fine-tuning step from the feature store, against encoding in every step and the bare language model.

    python benchmarks/finetune_step.py                    # a small language model and ViT-L on the CPU
    python benchmarks/finetune_step.py --device cuda      # also Vicuna-7B's shape in bfloat16 and in 4 bit

All weights are random; the tokenizer is the embedded model's. The three are timed in turn within one run, by
the processor's time on a CPU (neighbours do not count), by the clock on a GPU. A step from the store reads
samples, tokenises, collates, projects, runs forward and backward, and updates. The bare step has the same
tokens ready and no projector. Encoding in the loop adds an image encoder of ViT-L/14's size over every frame:
on a CPU it is timed over two frames and multiplied, as frames are encoded one by one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from memory import VICUNA, random_model
from transformers import AutoConfig, LlamaConfig

from encoder.features.store import FeatureStore, StoreFacts
from gym_qa.questions.questions import WORDINGS, Question
from projector.base import ProjectorSpec
from projector.build import build_projector
from sefar_mllm.finetuning.dataset import FinetuneDataset, collate
from sefar_mllm.model.activation_checkpointing import enable_checkpointing
from sefar_mllm.model.config import MLLMConfig
from sefar_mllm.model.language_model import EMBEDDED, load_tokenizer
from sefar_mllm.model.lora import LoraOptions, add_lora
from sefar_mllm.model.mllm import SefarMLLM

FRAMES, DIM, CLIPS = 8, 1024, 64
MOVES = [
    f"{kind} {way} {body}" for kind in ("salto", "leap") for way in ("forward", "back") for body in ("a", "b")
]
# bfloat16 products a second by the makers' data sheets, without sparsity.
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}


@dataclass
class Clock:
    """Seconds of work on a device."""

    device: str

    def __call__(self, work: Callable[[], object]) -> float:
        """Run ``work``; returns what it took."""
        now = time.process_time if self.device == "cpu" else time.perf_counter
        self.wait()
        begun = now()
        work()
        self.wait()
        return now() - begun

    def wait(self) -> None:
        """Until the GPU has nothing left to do."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def questions() -> list[Question]:
    """One question a clip."""
    return [
        Question(
            f"q{i}", f"clip{i}", WORDINGS["official"], tuple(MOVES[(i + k) % 8] for k in range(4)), i % 4
        )
        for i in range(CLIPS)
    ]


def store(folder: Path) -> FeatureStore:
    """Random features of every clip, as ViT-L would give them."""
    facts = StoreFacts(encoder="random", fingerprint="0", dim=DIM, num_tokens=FRAMES, views=1)
    made = FeatureStore(folder, facts, {})
    folder.mkdir(parents=True, exist_ok=True)
    made.add({f"clip{i}": torch.randn(1, FRAMES, DIM).half() for i in range(CLIPS)})
    return made


def language_model(config: LlamaConfig, dtype: torch.dtype, four_bit: bool, device: str) -> SefarMLLM:
    """A model of random weights with adapter and projector."""
    base = random_model(config, dtype, four_bit, device, fused=device == "cuda").requires_grad_(False)
    spec = ProjectorSpec("mlp", DIM, config.hidden_size, FRAMES, FRAMES)
    settings = MLLMConfig("random", projector=spec)
    projector = build_projector(spec).to(device)
    model = SefarMLLM(add_lora(base, LoraOptions()), load_tokenizer(EMBEDDED), projector, settings)  # type: ignore[arg-type]
    return model.train()


def update(model: SefarMLLM, optimizer: torch.optim.Optimizer, batch: dict[str, torch.Tensor]) -> None:
    """Forward, backward, update."""
    device, dtype = model.device, model.causal.dtype
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        loss = model(**{name: tensor.to(device) for name, tensor in batch.items()})["loss"]
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def batches(dataset: FinetuneDataset, size: int) -> Iterator[dict[str, torch.Tensor]]:
    """As the loader of a run makes them."""
    for start in range(0, len(dataset), size):
        yield collate([dataset[start + k] for k in range(size)])


def encoder_seconds(clock: Clock, batch: int) -> float:
    """What ViT-L/14 at 224 pixels takes for the frames of a batch."""
    vit = timm.create_model("vit_large_patch14_clip_224", num_classes=0).eval().to(clock.device)
    count = 2 if clock.device == "cpu" else batch * FRAMES
    frames = torch.randn(count, 3, 224, 224, device=clock.device)
    with torch.no_grad(), torch.autocast(clock.device, torch.bfloat16, enabled=clock.device == "cuda"):
        vit(frames[:1])
        seconds = min(clock(lambda: vit(frames)) for _ in range(2))
    return seconds * batch * FRAMES / count


def compare(config: LlamaConfig, device: str, dtype: torch.dtype, batch: int, steps: int) -> None:
    """The three steps in turn."""
    clock = Clock(device)
    model = language_model(config, dtype, False, device)
    bare = SefarMLLM(model.language_model, model.tokenizer, None, MLLMConfig("random")).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    bare_optimizer = torch.optim.AdamW([p for p in bare.parameters() if p.requires_grad], 1e-4)
    with tempfile.TemporaryDirectory() as folder:
        data = FinetuneDataset(
            questions(), store(Path(folder) / "store"), model.prompter, (steps + 2) * batch, batch, seed=0
        )
        from_store, same = batches(data, batch), batches(data, batch)
        times: dict[str, list[float]] = {"store": [], "bare": []}
        for step in range(steps + 2):
            ready = next(same)
            tokens = ready["ids"].numel()
            ready = {"ids": ready["ids"].clamp(min=0), **{k: ready[k] for k in ("attention_mask", "labels")}}
            taken = {
                "store": clock(lambda: update(model, optimizer, next(from_store))),
                "bare": clock(lambda ready=ready: update(bare, bare_optimizer, ready)),
            }
            if step >= 2:  # the first steps warm up
                for name, seconds in taken.items():
                    times[name].append(seconds)
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    middle["encoding"] = middle["store"] + encoder_seconds(clock, batch)
    print(f"{device}, {dtype}, {config.num_hidden_layers} layers of {config.hidden_size}, {batch} samples, ")
    print(f"about {tokens // batch} tokens a sample, {steps} steps, {torch.get_num_threads()} threads")
    for name, label in (
        ("bare", "bare language model with LoRA"),
        ("store", "from the store"),
        ("encoding", "encoding in every step"),
    ):
        print(f"  {label:<32}{middle[name]:8.3f} s")
    print(f"  store / bare      {middle['store'] / middle['bare']:6.3f}  (at most 1.1)")
    print(f"  encoding / store  {middle['encoding'] / middle['store']:6.1f}  (at least 3)")


def vicuna(batch: int, length: int, four_bit: bool, checkpointing: bool, steps: int) -> None:
    """Tokens a second, use of the GPU and highest memory of Vicuna-7B's shape."""
    config = AutoConfig.from_pretrained(VICUNA)
    model = add_lora(
        random_model(config, torch.bfloat16, four_bit, "cuda", fused=True).requires_grad_(False),  # type: ignore[arg-type]
        LoraOptions(),
    ).train()
    base = model.get_base_model()
    if checkpointing:
        enable_checkpointing(base, {"use_reentrant": False})
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4, fused=True)
    ids = torch.randint(0, config.vocab_size, (batch, length), device="cuda")

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            words = base.get_input_embeddings()(ids).requires_grad_(True)
            hidden = base.model(inputs_embeds=words, use_cache=False).last_hidden_state
            logits = base.lm_head(hidden[:, -10:]).float()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, -10:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    clock = Clock("cuda")
    torch.cuda.reset_peak_memory_stats()
    clock(lambda: [step() for _ in range(3)])
    seconds = clock(lambda: [step() for _ in range(steps)]) / steps
    tokens = batch * length
    # Weights that every token passes; packed ones do not count themselves, and the head sees ten tokens.
    h, f = config.hidden_size, config.intermediate_size
    weights = config.num_hidden_layers * (4 * h**2 + 3 * h * f)
    # Frozen weights: forward and the gradient of the inputs, 2 operations a weight and token each. Attention:
    # two products of 2 · length · width in each layer, three times over with their two gradients.
    work = tokens * (4 * weights + 12 * length * h * config.num_hidden_layers)
    name = torch.cuda.get_device_name()
    peak = next((flops for key, flops in PEAK.items() if key in name), None)
    used = f"{work / seconds / peak:.1%} of its bfloat16 peak" if peak else "peak unknown"
    kind = "4 bit" if four_bit else "bfloat16"
    again = ", gradient checkpointing" if checkpointing else ""
    print(
        f"{name}: Vicuna-7B's shape, {kind}{again}, {batch} × {length}: {tokens / seconds:.0f} tokens/s, "
        f"{used}, {torch.cuda.max_memory_allocated() / 1e9:.2f} GB at the peak"
    )


def main() -> None:
    """Run what the device is for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--layers", type=int, default=8, help="decoder layers of the small language model")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    torch.manual_seed(0)
    small = LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=options.layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
    )
    dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
    compare(small, options.device, dtype, options.batch, options.steps)
    if options.device == "cuda":
        for four_bit, checkpointing in ((False, False), (True, False), (True, True)):
            torch.cuda.empty_cache()
            vicuna(4, 160, four_bit, checkpointing, 10)


if __name__ == "__main__":
    main()
