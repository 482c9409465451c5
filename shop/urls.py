from django.urls import path

from shop import api

urlpatterns = [
    path("users/sign-up/", api.SignUpView.as_view(), name="sign-up"),
    path("users/sign-in/", api.SignInView.as_view(), name="sign-in"),
    path("users/sign-out/", api.SignOutView.as_view(), name="sign-out"),
    path("users/me/", api.MeView.as_view(), name="me"),
    path("stores/", api.StoresView.as_view(), name="stores"),
    path("products/", api.ProductsView.as_view(), name="products"),
    path("products/<int63:pk>/", api.ProductDetailView.as_view(), name="product"),
]
