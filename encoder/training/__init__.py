"""Training an encoder: options, the loop, its folder, evaluation and how much memory it takes."""
