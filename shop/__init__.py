"""Who sells what: users, stores, categories, products and their options.

Begin with models.py, then services.py; `desk/` is the kit that every app's pages for operators are made of.
"""
