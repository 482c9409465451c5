"""The operators' desk: Django admin for all apps. What every page shares is in `base` and `operations`."""

from shop.admin import catalog, groups, users

__all__ = ["catalog", "groups", "users"]
