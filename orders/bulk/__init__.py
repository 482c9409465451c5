"""Shipping, delivering and confirming many orders at once: drafted, looked at, begun, done by a worker.

Begin with drafting.py, then running.py; actions.py says what each action is. Its pages: `orders/admin/bulk/`.
"""
