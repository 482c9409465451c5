"""A file of real invoices, played again as orders through the shop's services (`replay_orders`).

Begin with run.py; reader.py and invoices.py say what the file means, sales.py and returns.py do it.
"""
