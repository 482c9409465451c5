"""Who bought what: placing orders, what happens to them afterwards, their money, drops.

Begin with api.py and engine/batch.py; docs/architecture.md has the way of one order
and of one change, file by file.
"""
