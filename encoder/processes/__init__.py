"""Processes: those of one launch, which share work, and one apart for work that may end its process."""
