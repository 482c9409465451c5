"""Drops over HTTP: what is sold. It is bought as any order is: orders/api.py."""

import re
from collections.abc import Callable

from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from orders.drops.schemas import DropList, DropView
from orders.drops.selectors import MAX_AGE, drop_views
from yousinsa.http.page_cache import PublicEndpoint, is_stranger, strong_tag
from yousinsa.http.schema import operation

# Inside of a text of people's the quotes would be escaped.
_CLOCKS = re.compile(rb'(?P<second>"server_time":"[^".]*)[^"]*|"opens_in_seconds":[^,}]*')


def tag_of_the_second(body: bytes) -> str:
    """A weak ETag: the same for pages that only differ in when they were made, within one second.

    No longer, or a caller who is told "not modified" again and again would count down from an old clock.
    """
    return "W/" + strong_tag(_CLOCKS.sub(rb"\g<second>", body))


class DropEndpoint(PublicEndpoint):
    permission_classes = [AllowAny]

    def at_this_moment(self, look: Callable[[], DropList | DropView]) -> HttpResponseBase:
        """What `look` finds. A stranger's server_time may be as old as the page, a caller's own is now."""
        if is_stranger(self.request._request):
            return self.shown(look, tag=tag_of_the_second, max_age=MAX_AGE)
        return self.answer(look())


class DropsView(DropEndpoint):
    @operation("Open and coming drops", response=DropList, public=True, kept=True)
    def get(self, request: Request) -> HttpResponseBase:
        return self.at_this_moment(lambda: DropList(timezone.now(), drop_views.coming()))


class DropDetailView(DropEndpoint):
    @operation(
        "One drop: what remains, and when it opens", response=DropView, errors=(404,), public=True, kept=True
    )
    def get(self, request: Request, id: int) -> HttpResponseBase:
        return self.at_this_moment(lambda: drop_views.one(id))
