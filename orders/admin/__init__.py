"""Orders on the desk: what they are, what is done to them, and the money."""

from orders.admin import orders, payments, settlements

__all__ = ["orders", "payments", "settlements"]
