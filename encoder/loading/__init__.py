"""Batches of clips: decoded on worker processes or taken from a cache, cropped and flipped on the device."""
