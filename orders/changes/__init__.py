"""Changing orders: commands that wait together are decided under one set of locks and written together.

Begin with commands.py, then batch.py. What each command decides stands with its use case, in
`orders/lifecycle/` and `orders/payments/`.
"""
