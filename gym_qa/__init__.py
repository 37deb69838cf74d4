"""Annotations → label splits → multiple-choice questions → what they measure."""
