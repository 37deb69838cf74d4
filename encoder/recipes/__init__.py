"""Training methods, one small file each; ``encoder.recipes.config`` names them."""
