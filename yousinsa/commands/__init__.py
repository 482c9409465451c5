"""What management commands share: how they read files and say how far they have come."""
