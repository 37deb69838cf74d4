"""A benchmark from annotations: clip lists, splits, questions and their audit in one step."""
