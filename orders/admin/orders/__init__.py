"""The page of orders: the list, an order with its lines, notes, history and payments, what is done to it.

Begin with `page`; `operations` are the buttons, `inlines` the tables below an order, `packing` prints.
"""
