"""Stock documents at the desk: deliveries and stocktakes, read from files, looked at by line, applied once.

Begin with `base`, what both share; `rows` says what a row of a file means.
"""
