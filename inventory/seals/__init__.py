"""Months of the ledger, sealed: whoever changes an old movement is found out.

Begin with closing.py, which seals a month; chain.py is how, verification.py checks that nothing was touched.
"""
