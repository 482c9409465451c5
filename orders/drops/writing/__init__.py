"""From what Redis admitted into the database, and back. Begin with drain.py."""
