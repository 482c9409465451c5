"""The shop's pages at the desk: products, categories, stores, people. They are built from `shop/desk`.

Each page is a module that imports no other page; `rooms` says where they are in the sidebar.
"""

from shop.admin import categories, groups, products, rooms, stores, users

__all__ = ["categories", "groups", "products", "rooms", "stores", "users"]
