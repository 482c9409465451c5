"""The pages of what is done to many orders at once: a shipping list that is read, runs, their rows.

Begin with `page`; `shipping_list` reads what somebody uploads or pastes.
"""
