"""What would go wrong later, found out beforehand."""
