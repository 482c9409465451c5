"""Orders on the desk: what they are, what is done to them, the drops, and the money."""

from orders.admin import drops, holds, orders, payments, settlements

__all__ = ["drops", "holds", "orders", "payments", "settlements"]
