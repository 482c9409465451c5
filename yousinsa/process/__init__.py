"""What a process makes once, shares with its siblings, and repeats. Begin with once.py, then loop.py."""
