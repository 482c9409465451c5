"""Stock at the desk and the ledger behind it: counters that nobody types over, and what changes them.

Begin with `page`; `changes` has the forms, `movements` the ledger's lists, `timeline` an option's story.
"""
