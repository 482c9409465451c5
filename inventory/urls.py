from django.urls import path

from inventory import api

urlpatterns = [
    path("options/<int63:pk>/receive/", api.OptionReceiveView.as_view(), name="option-receive"),
]
