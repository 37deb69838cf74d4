"""Checkpoints on the Hugging Face Hub: the verb ``push``, and finding a checkpoint by its name there."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from encoder.errors import first_line
from sefar_mllm.errors import SefarMLLMError
from sefar_mllm.model.manifest import CONFIG, MERGED, Manifest

PARTS = [CONFIG, "adapter/*", "projector.*", "tokenizer/*", "metrics.jsonl", "options.json"]
MERGED_PARTS = ["*.json", "*.safetensors", "*.jinja", "*.model"]  # a merged language model stands beside them

#: The values that name folders, by file.
WITH_FOLDERS = {
    CONFIG: ("encoder",),
    "options.json": ("options",),
    "adapter_config.json": ("base_model_name_or_path",),
}


@dataclass(frozen=True)
class PushConfig:
    """Put a checkpoint on the Hugging Face Hub.

    Who pushes must be logged in there ('hf auth login').

    Args:
        checkpoint: folder that fine-tuning or merging wrote.
        repo: name on the Hub, OWNER/NAME; made where there is none.
        private: make it a private one.
    """

    checkpoint: Path
    repo: str
    private: bool = False


def push(config: PushConfig) -> str:
    """Upload the checkpoint, without the states to resume from. Returns its address.

    Of folders of this machine only the last part of their names is told.

    Raises:
        SefarMLLMError: when the folder is no whole checkpoint, its language model is a folder of this
            machine, or the Hub refuses.
    """
    settings = Manifest.read(config.checkpoint).settings
    merged = settings.language_model == MERGED
    if not merged and Path(settings.language_model).expanduser().exists():
        raise SefarMLLMError(
            f"{config.checkpoint}: its language model is the folder {settings.language_model!r}, which "
            "nobody else has; merge the adapter into it first ('sefar-mllm merge'), and push what that writes"
        )
    api = HfApi()
    try:
        api.create_repo(config.repo, private=config.private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            stage(config.checkpoint, Path(folder))
            commit = api.upload_folder(
                repo_id=config.repo,
                folder_path=folder,
                commit_message="SeFAR-MLLM checkpoint",
                allow_patterns=[*PARTS, *(MERGED_PARTS if merged else [])],
                ignore_patterns=["steps/*", "*.tmp"],
            )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise SefarMLLMError(f"{config.repo}: could not be pushed to the Hub ({error})") from error
    print(f"{config.checkpoint} is on the Hub: {commit}")
    return str(commit)


def stage(checkpoint: Path, folder: Path) -> None:
    """Lay a checkpoint's files out in ``folder``: links, and JSON files without this machine's folders."""
    for file in checkpoint.rglob("*"):
        target = folder / file.relative_to(checkpoint)
        if not file.is_file() or target.relative_to(folder).parts[0] == "steps":
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.name in WITH_FOLDERS:
            values = json.loads(file.read_text(encoding="utf-8"))
            values |= {key: without_folders(values.get(key)) for key in WITH_FOLDERS[target.name]}
            values |= {"seen_from_here": {}} if "seen_from_here" in values else {}
            target.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        else:
            target.symlink_to(file.absolute())


def without_folders(value: Any) -> Any:
    """JSON values in which a path from the root, or from a home, is its last part."""
    if isinstance(value, dict):  # a prompt has words that may look like one: "/no_think"
        return {key: item if key == "prompt" else without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_folders(item) for item in value]
    if not isinstance(value, str):
        return value
    kind, path = re.fullmatch(r"(\w+:(?=[/~](?!/)))?(.*)", value, re.DOTALL).groups("")  # type: ignore[union-attr]
    return kind + PurePath(path).name if path.startswith(("/", "~")) else value


def find_checkpoint(name: str | Path) -> Path:
    """The folder of a checkpoint: itself, or of ``OWNER/NAME`` on the Hub a copy in the Hub's cache.

    Raises:
        SefarMLLMError: when it is no folder, and the Hub has none of that name or is out of reach.
    """
    path, text = Path(name), str(name)
    could_be_on_hub = (
        text.count("/") == 1 and not text.startswith((".", "~", "/")) and not path.parent.is_dir()
    )
    if path.is_dir() or not could_be_on_hub:
        return path
    try:
        return Path(snapshot_download(text))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise SefarMLLMError(
            f"checkpoint {text!r}: there is no such folder, and the Hub does not give it "
            f"({first_line(error)})"
        ) from error
