"""Videos: which clips there are, which of their frames are looked at, and reading exactly those."""
