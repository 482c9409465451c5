"""Drops: limited sales with an allotment, a window and a limit a customer (docs/drops.md)."""
