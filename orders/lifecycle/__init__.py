"""What happens to an order after it was placed: a module a use case, each one transaction under its lock.

Begin with shipping.py. Locks are in orders/locking.py, refunds in orders/payments/refunds.py.
"""

from orders.lifecycle.cancelling import cancel_order
from orders.lifecycle.expiry import expire_due
from orders.lifecycle.notes import add_note
from orders.lifecycle.returning import return_order
from orders.lifecycle.shipping import deliver_order, ship_order

__all__ = ["add_note", "cancel_order", "deliver_order", "expire_due", "return_order", "ship_order"]
