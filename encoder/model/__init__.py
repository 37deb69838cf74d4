"""The SeFAR network, where its weights come from, and what of a checkpoint makes it again."""
