"""Who bought what: placing orders, what happens to them afterwards, their money, drops.

Begin with api.py and placement/batch.py; docs/architecture.md has the way of one order, file by file.
"""
