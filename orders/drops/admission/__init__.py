"""Buying from a drop: asking its lane whether an order is admitted, and answering the buyer.

Begin with door.py; each lane (redis_lua.py, redis_transaction.py, group_commit.py) is one `ask`.
"""
