"""From source videos to the trimmed clips that training reads."""
