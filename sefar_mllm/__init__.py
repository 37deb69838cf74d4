"""The language side: model, prompts, fine-tuning, multiple-choice scoring and reports."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sefar_mllm.errors import SefarMLLMError
    from sefar_mllm.evaluation.evaluate import EvaluateConfig, evaluate
    from sefar_mllm.finetuning.config import FinetuneConfig
    from sefar_mllm.finetuning.finetune import finetune
    from sefar_mllm.inference.video_qa import VideoAnswer, VideoQA
    from sefar_mllm.model.config import MLLMConfig
    from sefar_mllm.model.mllm import SefarMLLM

#: What is imported only when it is asked for: name → module.
_HOME = {
    "SefarMLLM": "sefar_mllm.model.mllm",
    "MLLMConfig": "sefar_mllm.model.config",
    "VideoQA": "sefar_mllm.inference.video_qa",
    "VideoAnswer": "sefar_mllm.inference.video_qa",
    "FinetuneConfig": "sefar_mllm.finetuning.config",
    "finetune": "sefar_mllm.finetuning.finetune",
    "EvaluateConfig": "sefar_mllm.evaluation.evaluate",
    "evaluate": "sefar_mllm.evaluation.evaluate",
    "SefarMLLMError": "sefar_mllm.errors",
}
__all__ = [
    "EvaluateConfig",
    "FinetuneConfig",
    "MLLMConfig",
    "SefarMLLM",
    "SefarMLLMError",
    "VideoAnswer",
    "VideoQA",
    "evaluate",
    "finetune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
