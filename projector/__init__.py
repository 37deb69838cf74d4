"""Features of a visual encoder → tokens of a language model."""
