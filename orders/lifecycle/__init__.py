"""What happens to an order after it was placed: a module a use case, each one transaction under its lock.

Begin with shipping.py. Locks are in orders/locking.py, refunds in orders/payments/refunds.py.
"""

from orders.lifecycle.cancelling import cancel_order
from orders.lifecycle.correcting import correct_address, correct_tracking, forget_corrections
from orders.lifecycle.expiry import expire_due
from orders.lifecycle.losing import lose_order
from orders.lifecycle.notes import add_note
from orders.lifecycle.returning import return_order
from orders.lifecycle.shipping import deliver_order, ship_order

__all__ = [
    "add_note",
    "cancel_order",
    "correct_address",
    "correct_tracking",
    "deliver_order",
    "expire_due",
    "forget_corrections",
    "lose_order",
    "return_order",
    "ship_order",
]
