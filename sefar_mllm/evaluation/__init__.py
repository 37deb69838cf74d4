"""Answers to numbers: controls, metrics, intervals and what a report needs of them."""
