"""The multimodal model: a frozen language model, its adapter and projector, prompts and checkpoints."""
