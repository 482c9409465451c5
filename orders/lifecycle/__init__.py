"""What happens to an order after it was placed: a module a use case, with its command and what that decides.

Begin with shipping.py. How commands are carried out is in orders/changes/, refunds in orders/payments/.
"""

from orders.lifecycle.cancelling import begin_cancel, cancel_order
from orders.lifecycle.correcting import correct_address, correct_tracking, forget_corrections
from orders.lifecycle.expiry import expire_due
from orders.lifecycle.losing import lose_order
from orders.lifecycle.notes import add_note
from orders.lifecycle.returning import begin_return, return_order
from orders.lifecycle.shipping import deliver_order, ship_order

__all__ = [
    "add_note",
    "begin_cancel",
    "begin_return",
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
