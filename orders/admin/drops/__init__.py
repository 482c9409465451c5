"""Drops at the desk: planned in a form, run by operations, watched by numbers that refresh.

Begin with `page`; `operations` are the buttons, `records` what is only looked at.
"""
