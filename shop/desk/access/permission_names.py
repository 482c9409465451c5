"""What permissions are called where an operator gives them: the database has their English names only."""

from typing import Any

from django.contrib.auth.models import Permission
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

# Those that Django makes for each model.
_DEFAULT = {
    "add": _("Can add %s"),
    "change": _("Can change %s"),
    "delete": _("Can delete %s"),
    "view": _("Can view %s"),
}


def name_of(permission: Permission) -> str:
    """A permission with what it is about, in the operator's language. Models wrap the names of their own."""
    subject = permission.content_type
    action, _sep, model = permission.codename.partition("_")
    if model == subject.model and action in _DEFAULT:
        return f"{subject} | {_DEFAULT[action] % subject.name}"
    return f"{subject} | {gettext(permission.name)}"


class NamesPermissions:
    """For an admin whose form has a field of permissions."""

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]
        if field is not None and db_field.related_model is Permission:
            field.label_from_instance = name_of
        return field
