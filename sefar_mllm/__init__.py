"""The language side: model, prompts, fine-tuning, multiple-choice scoring and reports."""
