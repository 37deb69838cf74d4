"""Which language model a checkpoint was trained on: where it lies, and a fingerprint of its weights."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from transformers.utils import cached_file

from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.language_model import locate, unreadable

#: Of a tensor, or of a file of pickled ones, this many pieces of so many bytes are read, evenly spread.
PIECES, PIECE = 16, 4096
#: What may change in a config.json without another model.
VOLATILE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache")


def fingerprint(name: str) -> str:
    """Hash of a language model's configuration and weights, in seconds for any size.

    Of each tensor its name, type, shape and at most 64 KB are read: enough to tell two trainings apart.

    Args:
        name: ``SmolLM2-135M-Instruct`` (embedded), a folder, or a name on the Hub that was loaded before.

    Raises:
        SefarMLLMError: when there are no weights.
    """
    source = locate(name)
    folder = Path(source)
    if not folder.is_dir():
        try:
            config = cached_file(source, "config.json", local_files_only=True)
        except OSError as error:
            raise unreadable(name, error) from error
        folder = Path(str(config)).parent
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kept = {key: value for key, value in settings.items() if key not in VOLATILE}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    parts: list[bytes] = []
    for file in weight_files(name, folder):
        parts += tensors(file) if file.suffix == ".safetensors" else [b"".join(pieces(file, 0, None))]
    for part in sorted(parts):  # not in the files' order: the same weights may lie in more or fewer files
        digest.update(part)
    return digest.hexdigest()[:16]


def weight_files(name: str, folder: Path) -> list[Path]:
    """The files that Transformers reads a model's weights from.

    Raises:
        SefarMLLMError: when there are none.
    """
    for single in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{single}.index.json"
        if (folder / single).is_file():
            return [folder / single]
        if index.is_file():
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            return [folder / file for file in sorted(set(names))]
    raise SefarMLLMError(
        f"language model {name!r}: {folder} holds no weights; expected model.safetensors or "
        "pytorch_model.bin, whole or in parts with their index"
    )


def tensors(file: Path) -> Iterator[bytes]:
    """Name, type, shape and pieces of each tensor of a safetensors file (its header says where they are)."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    for name, facts in header.items():
        if name == "__metadata__":
            continue
        begin, end = facts["data_offsets"]
        head = json.dumps([name, facts["dtype"], facts["shape"]]).encode()
        yield head + b"".join(pieces(file, 8 + size + begin, 8 + size + end))


def pieces(file: Path, begin: int, end: int | None) -> Iterator[bytes]:
    """Evenly spread pieces of the bytes from ``begin`` to ``end``, all of them where they are few."""
    with file.open("rb") as stream:
        end = os.fstat(stream.fileno()).st_size if end is None else end
        length = end - begin
        if length <= PIECES * PIECE:
            stream.seek(begin)
            yield stream.read(length)
            return
        yield str(length).encode()
        for number in range(PIECES):
            stream.seek(begin + number * (length - PIECE) // (PIECES - 1))
            yield stream.read(PIECE)
