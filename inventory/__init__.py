"""How many there are: counters of stock, the ledger of all that moved them, and what proves both.

Begin with ledger.py (every change) and locks.py (who waits for whom); documents.py is many changes at once.
"""
