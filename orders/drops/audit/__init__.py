"""Whether Redis and the database agree on a drop, what to do where they do not, and what operators see.

Begin with escrow_check.py.
"""
