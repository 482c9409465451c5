"""What stores are owed for a period: computed, and frozen by approval.

Begin with services.py; `settle` is its command.
"""
