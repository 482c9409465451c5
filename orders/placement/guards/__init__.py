"""What keeps one order from harming the others of its batch, and a buyer from holding too much.

Begin with suspects.py; blocked.py is about locked rows, buyers.py about accounts and what they hold unpaid.
"""
