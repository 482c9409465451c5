"""Drops over HTTP: what is sold. It is bought as any order is: orders/api.py."""

from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from orders.drops.schemas import DropList, DropView
from orders.drops.selectors import drop_views
from yousinsa.http.endpoint import Endpoint
from yousinsa.http.schema import operation


class DropsView(Endpoint):
    permission_classes = [AllowAny]

    @operation("Open and coming drops", response=DropList, public=True)
    def get(self, request: Request) -> HttpResponseBase:
        return self.answer(DropList(timezone.now(), drop_views.coming()))


class DropDetailView(Endpoint):
    permission_classes = [AllowAny]

    @operation("One drop: what remains, and when it opens", response=DropView, errors=(404,), public=True)
    def get(self, request: Request, id: int) -> HttpResponseBase:
        return self.answer(drop_views.one(id))
