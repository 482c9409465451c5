"""A shop to look at: logins, products, buyers, and a made-up history whose books balance (`seed_demo`).

Begin with seeding.py; plan.py makes the history up, history.py writes it.
"""
