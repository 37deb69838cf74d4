"""Answers of a model: likelihood of options, written replies, and asking about a video."""
