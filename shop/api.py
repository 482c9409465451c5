"""The shop over HTTP: accounts, stores, products. Each endpoint reads, calls one service, shows.

Who may not do a thing is told so first: permissions are checked before the body is read.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from django.conf import settings
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from msgspec import UNSET
from rest_framework.exceptions import APIException
from rest_framework.permissions import SAFE_METHODS, AllowAny, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from inventory.listing import change_product, list_product
from inventory.selectors import in_stock, product_views, sold_out_products
from orders.lifecycle.withdrawal import withdraw_buyer
from shop import selectors, services
from shop.errors import WrongCredentials
from shop.limits import limit_sign_in, remember_device
from shop.models import Product, Role, Store, User
from shop.options import OptionDraft
from shop.schemas import (
    Address,
    NewProduct,
    PageQuery,
    ProductChange,
    ProductPage,
    ProductView,
    ProfileChange,
    SignedIn,
    SignIn,
    SignUp,
    StoreApplication,
    StorePage,
    StoreView,
    UserView,
    Withdrawal,
)  # fmt: skip
from shop.selectors import ORDERINGS, ProductQuery
from yousinsa import limits
from yousinsa.auth import (
    caller,
    forget_token,
    give_csrf_token,
    is_by_cookie,
    keep_token,
    refuse_other_sites,
)
from yousinsa.errors import Problem, Unauthenticated
from yousinsa.http.bodies import read_body, read_query
from yousinsa.http.endpoint import Endpoint
from yousinsa.http.page_cache import PublicEndpoint
from yousinsa.http.paging import asking, keyset_page
from yousinsa.http.schema import LOCATION, SET_COOKIE, operation


def current_user(request: Request) -> User:
    """The signed-in user's row; a token alone does not carry it. Raises `Unauthenticated`."""
    user = User.objects.filter(pk=caller(request).id, is_active=True).first()
    if user is None:
        raise Unauthenticated
    return user


class SignUpView(Endpoint):
    permission_classes = [AllowAny]
    authentication_classes: list[Any] = []

    @operation("Sign up", request=SignUp, response=UserView, status=201, errors=(409, 429), public=True)
    def post(self, request: Request) -> HttpResponseBase:
        rate = limits.Rate.parse(settings.SIGN_UP_RATE)
        limits.check([(f"sign-up:{limits.client_address(request)}", rate)], everywhere=True)
        body = read_body(request, SignUp)
        user = services.sign_up(email=body.email, name=body.name, password=body.password, role=body.role)
        return self.answer_later(user.map(lambda user: self.answer(selectors.user_view(user), status=201)))


class SignInView(Endpoint):
    permission_classes = [AllowAny]
    authentication_classes: list[Any] = []

    @operation(
        "Sign in",
        request=SignIn,
        response=SignedIn,
        errors=(401, 403, 429),
        headers=[SET_COOKIE],
        public=True,
    )
    def post(self, request: Request) -> HttpResponseBase:
        refuse_other_sites(request._request)
        body = read_body(request, SignIn)
        limit_sign_in(request, body.email)
        return self.answer_later(
            services.sign_in(email=body.email, password=body.password).map(self._welcome)
        )

    def _welcome(self, user: User) -> HttpResponseBase:
        token = services.new_token(user=user)
        response = self.answer(SignedIn(token, selectors.user_view(user)))
        keep_token(response, token)
        give_csrf_token(self.request._request, response)
        remember_device(response, user.email)
        return response


class SignOutView(Endpoint):
    @operation("Sign out", status=204)
    def post(self, request: Request) -> HttpResponseBase:
        principal = caller(request)
        services.revoke_token(user_id=principal.id, token_id=principal.token_id)
        response = self.answer(None, status=204)
        forget_token(response)
        return response


class MeView(Endpoint):
    @operation("My profile", response=UserView)
    def get(self, request: Request) -> HttpResponseBase:
        profile = selectors.profile(caller(request).id)
        if profile is None:
            raise Unauthenticated
        return self.answer(profile)

    @operation("Change my profile or password", request=ProfileChange, response=UserView, errors=(429,))
    def patch(self, request: Request) -> HttpResponseBase:
        user = current_user(request)
        body = read_body(request, ProfileChange)
        changes: dict[str, str] = {} if body.name is UNSET else {"name": str(body.name)}
        if body.address is None:
            changes |= dict.fromkeys(services.PROFILE_FIELDS[1:], "")
        elif isinstance(body.address, Address):
            changes |= msgspec.structs.asdict(body.address)
        if body.new_password is UNSET:
            if changes:
                services.update_profile(user=user, changes=changes)
            return self.answer(selectors.user_view(user))
        limit_passwords(user)
        current = "" if body.current_password is UNSET else str(body.current_password)
        changed = services.change_password(
            user=user, current=current, new=str(body.new_password), profile=changes
        )
        return self.answer_later(changed.map(self._changed))

    def _changed(self, user: User) -> HttpResponseBase:
        """A browser goes on with a new token; a bearer token ends with all others."""
        response = self.answer(selectors.user_view(user))
        if is_by_cookie(self.request):
            # Whoever ends the new password just then ends this browser's token with it.
            with suppress(WrongCredentials):
                keep_token(response, services.new_token(user=user))
        return response

    @operation(
        "Withdraw: personal data is removed, orders stay", request=Withdrawal, status=204, errors=(429,)
    )
    def delete(self, request: Request) -> HttpResponseBase:
        user = current_user(request)
        body = read_body(request, Withdrawal)
        limit_passwords(user)
        confirmed = services.confirm_password(user=user, password=body.password, field="password")
        return self.answer_later(confirmed.map(lambda _: self._withdraw(user)))

    def _withdraw(self, user: User) -> HttpResponseBase:
        withdraw_buyer(user=user)
        response = self.answer(None, status=204)
        forget_token(response)
        return response


def limit_passwords(user: User) -> None:
    """Whoever holds a stolen token must not try passwords either. Raises `TooManyRequests`."""
    limits.check([(f"password:{user.pk}", limits.Rate.parse(settings.SIGN_IN_RATE))], everywhere=True)


def anybody_reads(method: str | None) -> list[BasePermission]:
    """Permissions of what everybody may look at and only users may change."""
    return [AllowAny() if method in SAFE_METHODS else IsAuthenticated()]


class StoresView(PublicEndpoint):
    def get_permissions(self) -> list[BasePermission]:
        return anybody_reads(self.request.method)

    @operation(
        "Stores: all accepted ones, and my own in any state", response=StorePage, query=PageQuery, kept=True
    )
    def get(self, request: Request) -> HttpResponseBase:
        query = read_query(request.query_params, PageQuery)

        def look() -> StorePage:
            page = keyset_page(
                partial(selectors.visible_stores, request.user.pk), ORDERINGS["newest"],
                cursor=query.cursor, page_size=query.page_size, request=request._request,
            )  # fmt: skip
            return StorePage(page.next, page.previous, [selectors.store_view(s) for s in page.rows])

        return self.answer(look()) if request.user.is_authenticated else self.shown(look)

    @operation(
        "Apply for a store", request=StoreApplication, response=StoreView, status=201, errors=(403, 409)
    )
    def post(self, request: Request) -> Response:
        owner = current_user(request)
        services.check_store_owner(role=owner.role)
        body = read_body(request, StoreApplication)
        store = services.apply_for_store(owner_id=owner.pk, role=owner.role, name=body.name)
        return Response(selectors.store_view(store), status=201)


def product_page(query: ProductQuery, request: HttpRequest, *, own: bool = False) -> ProductPage:
    """The products that a query asks for; `own`: also what is off sale. Raises `Invalid`."""
    products = selectors.filter_products(query, own=own)
    if query.in_stock is False and (sold_out := sold_out_products()) is not None:
        products = products.filter(pk__in=sold_out)

    def with_the_stock_wanted(rows: Sequence[Any]) -> list[Any]:
        there = in_stock(row.id for row in rows)
        return [row for row in rows if (row.id in there) == query.in_stock]

    # Found by narrow rows, which sort fast, and then fetched whole.
    rows = products.values_list("id", "name_key", "price", named=True)
    ordering = selectors.ordering_named(query.ordering)
    page = keyset_page(
        asking(rows, ordering, keep=None if query.in_stock is None else with_the_stock_wanted), ordering,
        cursor=query.cursor, page_size=query.page_size, request=request,
    )  # fmt: skip
    ids = [row.id for row in page.rows]
    views = {view.id: view for view in product_views(Product.objects.filter(pk__in=ids), whole=own)}
    return ProductPage(page.next, page.previous, [views[id] for id in ids])


def product_view(product_id: int) -> ProductView:
    """A product that shoppers see. Raises Http404."""
    views = product_views(selectors.visible_products().filter(pk=product_id))
    if not views:
        raise Http404
    return views[0]


class CatalogueView(PublicEndpoint):
    """Everybody may look, whoever they are: an expired token is no reason to refuse the products.

    A store owner sees of the own products what is off sale too.
    """

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        initialized = super().initialize_request(request, *args, **kwargs)
        if request.method in SAFE_METHODS:
            initialized.authenticators = []
        return initialized

    def seller_id(self, request: Request) -> int:
        """The store owner who looks; 0 for anybody else, whatever token they send."""
        for authenticator in self.get_authenticators():
            try:
                found = authenticator.authenticate(request)
            except (Problem, APIException):
                return 0
            if found:
                user: Any = found[0]
                return int(user.pk) if user.role == Role.STORE_OWNER else 0
        return 0

    def is_own(self, request: Request, store_id: int) -> bool:
        seller_id = self.seller_id(request)
        return bool(seller_id) and Store.objects.filter(pk=store_id, owner=seller_id).exists()

    def get_permissions(self) -> list[BasePermission]:
        return anybody_reads(self.request.method)


class ProductsView(CatalogueView):
    @operation("Products", response=ProductPage, query=ProductQuery, public=True, kept=True)
    def get(self, request: Request) -> HttpResponseBase:
        query = read_query(request.query_params, ProductQuery)
        if query.store and self.is_own(request, query.store):
            return Response(product_page(query, request._request, own=True))
        return self.shown(lambda: product_page(query, request._request))

    @operation(
        "List a product", request=NewProduct, response=ProductView, status=201, errors=(403, 409),
        headers=[LOCATION],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        owner_id = caller(request).id
        services.check_seller(owner_id=owner_id)
        body = read_body(request, NewProduct)
        product, _options = list_product(
            store=services.store_for_sale(store_id=body.store, owner_id=owner_id),
            category=selectors.category_by_slug(body.category), name=body.name, price=body.price,
            options=[OptionDraft(o.sku, o.size, o.color) for o in body.options],
            units=[o.stock for o in body.options], actor_id=owner_id,
        )  # fmt: skip
        (view,) = product_views(Product.objects.filter(pk=product.pk))
        return Response(view, status=201, headers={"Location": reverse("product", args=[product.pk])})


class ProductDetailView(CatalogueView):
    @operation("A product", response=ProductView, errors=(404,), public=True, kept=True)
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        if seller := self.seller_id(request):
            own = Product.objects.filter(pk=pk, store__owner=seller)
            if views := product_views(own, whole=True):
                return Response(views[0])
        return self.shown(lambda: product_view(pk))

    @operation(
        "Change a product of mine", request=ProductChange, response=ProductView, errors=(403, 404, 409)
    )
    def patch(self, request: Request, pk: int) -> Response:
        product = Product.objects.filter(pk=pk).first()
        if product is None:
            raise Http404
        services.store_for_sale(store_id=product.store_id, owner_id=caller(request).id)
        body = read_body(request, ProductChange)
        changes: dict[str, Any] = {
            field: value
            for field in ("name", "price", "is_active")
            if (value := getattr(body, field)) is not UNSET
        }
        if body.category is not UNSET:
            changes["category"] = selectors.category_by_slug(str(body.category))
        drafts = [
            OptionDraft(
                option.sku,
                None if option.size is UNSET else str(option.size),
                None if option.color is UNSET else str(option.color),
                None if option.is_active is UNSET else bool(option.is_active),
            )
            for option in ([] if body.options is UNSET else list(body.options))
        ]
        change_product(product=product, changes=changes, options=drafts)
        return Response(product_views(Product.objects.filter(pk=pk), whole=True)[0])
