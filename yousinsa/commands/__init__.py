"""What management commands share: how they take numbers, read files and say how far they have come."""
