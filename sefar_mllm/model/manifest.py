"""``sefar_mllm.json``: what a checkpoint says of itself, and by which its parts are known."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from projector.base import ProjectorSpec
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.files import write_whole
from sefar_mllm.model.config import EncoderIdentity, MLLMConfig
from sefar_mllm.model.frame import Frame
from sefar_mllm.model.places import find_encoder, find_language_model, seen_from
from sefar_mllm.model.prompts import PromptConfig

FORMAT = 2
CONFIG = "sefar_mllm.json"
MERGED = "."  # the name of a language model that stands in the checkpoint itself


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What stands in a checkpoint's folder.

    Attributes:
        settings: what the model is made of.
        frame: what stands around the words of a prompt.
        probe: ids that its tokenizer writes for a fixed question (`Prompter.probe`).
        base: fingerprint of the language model's own weights.
        architecture: what a language model must have in common with the one the adapter was trained on.
        sha256: of the files of weights, by their name in the folder.
        versions: of the libraries that wrote it.
    """

    settings: MLLMConfig
    frame: Frame
    probe: list[int]
    base: str
    architecture: dict[str, int | str]
    sha256: dict[str, str]
    versions: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write the file, which makes the folder a checkpoint."""
        values = {
            "format": FORMAT,
            **asdict(self.settings),
            "frame": asdict(self.frame),
            "probe": self.probe,
            "base": self.base,
            "seen_from_here": seen_from(folder, self.settings),
            "architecture": self.architecture,
            "sha256": self.sha256,
            "versions": self.versions,
        }
        write_whole(folder / CONFIG, json.dumps(values, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the file, and see that the weights are those that it names.

        Folders that are no longer where they were are looked for where they were seen from the checkpoint.

        Raises:
            SefarMLLMError: when ``folder`` is no checkpoint, or its weights are not those saved with it.
        """
        manifest = cls._parsed(folder)
        for name, expected in manifest.sha256.items():
            if not (folder / name).is_file():
                raise SefarMLLMError(
                    f"{folder / name}: missing; a checkpoint needs its adapter and its projector"
                )
            if digest(folder / name) != expected:
                raise SefarMLLMError(
                    f"{folder / name}: not the file that was saved with {CONFIG} (SHA-256 differ); "
                    "adapter, projector and configuration must come from the same run"
                )
        return manifest

    @classmethod
    def _parsed(cls, folder: Path) -> Manifest:
        file = folder / CONFIG
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise SefarMLLMError(
                    f"{file}: of format {values['format']}, expected {FORMAT}: prompts have changed since it "
                    "was trained; fine-tune again"
                )
            seen, encoder, projector = values["seen_from_here"], values["encoder"], values["projector"]
            if encoder is not None:
                encoder["location"] = find_encoder(encoder["location"], folder, seen.get("encoder"))
            name = find_language_model(values["language_model"], folder, seen.get("language_model"))
            return cls(
                settings=MLLMConfig(
                    language_model=name,
                    quantization=values["quantization"],
                    prompt=PromptConfig(**values["prompt"]),
                    projector=None if projector is None else ProjectorSpec(**projector),
                    encoder=None if encoder is None else EncoderIdentity(**encoder),
                ),
                frame=Frame(**values["frame"]),
                probe=list(values["probe"]),
                base=values["base"],
                architecture=dict(values["architecture"]),
                sha256=dict(values["sha256"]),
                versions=dict(values["versions"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SefarMLLMError(
                f"{file}: not a readable checkpoint ({type(error).__name__}: {error}); "
                "name a folder that fine-tuning wrote"
            ) from error


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    sha = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()
