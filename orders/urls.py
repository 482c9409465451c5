from django.urls import path

from orders import api
from orders.drops import api as drops

urlpatterns = [
    path("ping/", api.PingView.as_view(), name="ping"),
    path("orders/", api.OrdersView.as_view(), name="orders"),
    path("orders/<str:number>/", api.OrderDetailView.as_view(), name="order"),
    path("orders/<str:number>/pay/", api.PayView.as_view(), name="order-pay"),
    path("orders/<str:number>/cancel/", api.CancelView.as_view(), name="order-cancel"),
    path("orders/<str:number>/return/", api.ReturnView.as_view(), name="order-return"),
    path("drops/", drops.DropsView.as_view(), name="drops"),
    path("drops/<int63:id>/", drops.DropDetailView.as_view(), name="drop"),
]
