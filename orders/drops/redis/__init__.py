"""What a drop keeps in Redis, and how it is spoken to. Begin with keys.py."""
