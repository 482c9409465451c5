"""The kit of the desk: base classes, columns, operations, export, navigation, and who gets in (`access`).

Pages are in each app's `admin`; they build on `base` and `operations`, and never on each other.
"""
