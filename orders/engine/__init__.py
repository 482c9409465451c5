"""The engine: how a request to place or to change an order reaches the database, alone or with others.

Begin with batch.py (one transaction for many requests); committer.py feeds it what waits in a process.
What the requests mean is not known here: that is `orders/placement/` and `orders/changes/`.
"""
