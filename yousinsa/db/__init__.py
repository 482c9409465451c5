"""How the shop speaks to its database. Begin with transactions.py."""
