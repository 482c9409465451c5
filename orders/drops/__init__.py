"""Drops: limited sales with an allotment, a window and a limit a customer (docs/drops.md).

A drop's life begins in planning.py and goes on in services.py; buying from it begins in admission/door.py.
"""
