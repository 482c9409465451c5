"""Buying from a drop. Begin with door.py."""
