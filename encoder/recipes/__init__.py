"""Training methods, one small file each; see ``encoder.recipes.base``."""
