"""Who gets in at the desk and how much of it they see: signing in, the second factor, store owners.

Begin with `sign_in` for the door and `owners` for what a store owner's view ends at.
"""
