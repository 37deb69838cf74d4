"""What a question file gives away without a video."""
