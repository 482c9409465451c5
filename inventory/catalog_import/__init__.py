"""A file of styles becomes stores, categories, products and their first stock (`import_catalog`).

Begin with loader.py; reader.py says what a row is, the others what the file leaves open.
"""
