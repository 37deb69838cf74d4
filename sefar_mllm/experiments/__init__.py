"""Whole experiments: the demo, the comparison of encoders, the paper's studies."""
