"""What the shop owes its stores.

`entries` writes what each delivery and return is worth, in their own transaction; `services` claims entries
for settlements, adds them up and freezes them.
"""
