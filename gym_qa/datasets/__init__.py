"""Data sets: their published files to one typed table, clip lists and label splits."""
