"""Orders on the desk: what they are, what is done to them, and the money."""

from orders.admin import holds, orders, payments

__all__ = ["holds", "orders", "payments"]
