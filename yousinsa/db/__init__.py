"""How the shop speaks to its database: transactions, what its errors mean, the pool.

Begin with transactions.py.
"""
