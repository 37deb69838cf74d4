"""The verb ``study``: the paper's tables and figures, run anew."""

from sefar_mllm.experiments.study.verb import StudyConfig, study

__all__ = ["StudyConfig", "study"]
