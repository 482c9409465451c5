"""Money for orders: attempts to pay (services.py), money that goes back (refunds.py), providers of both.

Begin with services.py. A provider is never asked inside a transaction; add one in providers.py.
"""
