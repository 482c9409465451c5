"""Placing orders: one durable transaction, and the lanes that feed it.

Begin with batch.py, then writing.py; lanes.py names the lanes, of which group_commit.py is the usual one.
"""
