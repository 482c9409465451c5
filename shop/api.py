"""The shop over HTTP: accounts, stores, products. Each endpoint reads, calls one service, shows."""

from typing import Annotated, Any, Literal

import msgspec
from django.conf import settings
from django.contrib.auth import login, logout
from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.http import Http404
from msgspec import UNSET, Meta, UnsetType
from rest_framework.permissions import AllowAny, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from inventory import ledger
from inventory.selectors import available_units, in_stock
from orders.services import forget_buyer
from shop import selectors, services
from shop.errors import NotYourStore
from shop.models import MAX_OPTIONS, MAX_PRICE, Option, Product, User
from shop.selectors import ORDERINGS, Id, ProductQuery
from shop.views import ProductPage, ProductView, SignedIn, StorePage, StoreView, UserView
from yousinsa import limits
from yousinsa.api import Body, Query, read_body, read_query
from yousinsa.auth import Principal, caller, issue_token
from yousinsa.paging import MAX_PAGE_SIZE, PAGE_SIZE, keyset_page
from yousinsa.schema import LOCATION, operation

Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
Text = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Password = Annotated[str, Meta(min_length=1, max_length=200)]
Email = Annotated[str, Meta(min_length=3, max_length=254)]


class SignUp(Body, frozen=True):
    email: Email
    name: Name
    password: Password
    role: Literal["buyer", "store_owner"] = "buyer"


class SignIn(Body, frozen=True):
    email: Email
    password: Password


class Address(Body, frozen=True):
    """Where to ship."""

    recipient: Name
    phone: Annotated[str, Meta(min_length=1, max_length=30, pattern=r"^[^\x00]*$")]
    postal_code: Annotated[str, Meta(min_length=1, max_length=10, pattern=r"^[^\x00]*$")]
    address1: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
    address2: Text = ""


class ProfileChange(Body, frozen=True):
    """What is left out stays as it is; `address: null` forgets the saved address."""

    name: Name | UnsetType = UNSET
    address: Address | None | UnsetType = UNSET
    current_password: Password | UnsetType = UNSET
    new_password: Password | UnsetType = UNSET


class StoreApplication(Body, frozen=True):
    name: Name


class OptionBody(Body, frozen=True):
    sku: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
    size: Annotated[str, Meta(max_length=30, pattern=r"^[^\x00]*$")] = ""
    color: Annotated[str, Meta(max_length=50, pattern=r"^[^\x00]*$")] = ""


class NewOption(OptionBody, frozen=True):
    stock: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


Price = Annotated[int, Meta(ge=0, le=MAX_PRICE)]
ProductName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Slug = Annotated[str, Meta(min_length=1, max_length=100)]


class NewProduct(Body, frozen=True):
    store: Id
    name: ProductName
    category: Slug
    price: Price
    options: Annotated[list[NewOption], Meta(min_length=1, max_length=MAX_OPTIONS)]


class ProductChange(Body, frozen=True):
    """What is left out stays as it is. Options are recognised by SKU; new ones start without stock."""

    name: ProductName | UnsetType = UNSET
    category: Slug | UnsetType = UNSET
    price: Price | UnsetType = UNSET
    options: Annotated[list[OptionBody], Meta(min_length=1, max_length=MAX_OPTIONS)] | UnsetType = UNSET


class PageQuery(Query, frozen=True):
    cursor: str = ""
    page_size: Annotated[int, Meta(ge=1, le=MAX_PAGE_SIZE)] = PAGE_SIZE


def current_user(request: Request) -> User:
    """The signed-in user's row; a token alone does not carry it."""
    return User.objects.get(pk=caller(request).id)


class SignUpView(APIView):
    permission_classes = [AllowAny]
    authentication_classes: list[Any] = []

    @operation("Sign up", request=SignUp, response=UserView, status=201, errors=(409, 429), public=True)
    def post(self, request: Request) -> Response:
        rate = limits.Rate.parse(settings.SIGN_UP_RATE)
        limits.check([(f"sign-up:{limits.client_address(request)}", rate)], everywhere=True)
        body = read_body(request, SignUp)
        user = services.sign_up(email=body.email, name=body.name, password=body.password, role=body.role)
        return Response(selectors.user_view(user), status=201)


class SignInView(APIView):
    permission_classes = [AllowAny]
    authentication_classes: list[Any] = []

    @operation("Sign in", request=SignIn, response=SignedIn, errors=(401, 429), public=True)
    def post(self, request: Request) -> Response:
        body = read_body(request, SignIn)
        limit_sign_in(request, body.email)
        user = services.sign_in(email=body.email, password=body.password, request=request._request)
        login(request._request, user)
        token = issue_token(user_id=user.pk, role=user.role, is_staff=user.is_staff)
        return Response(SignedIn(token, selectors.user_view(user)))


def limit_sign_in(request: Request, email: str) -> None:
    """SIGN_IN_RATE for an account from one address; ten times that for either alone.

    One guesser cannot lock an account's owner out, and cannot try many accounts or addresses for long.
    Raises `TooManyRequests`.
    """
    rate = limits.Rate.parse(settings.SIGN_IN_RATE)
    wide = limits.Rate(rate.count * 10, rate.seconds, rate.burst * 10)
    account, address = User.objects.normalize_email(email), limits.client_address(request)
    budgets = [
        (f"sign-in:{account}:{address}", rate),
        (f"sign-in-account:{account}", wide),
        (f"sign-in-address:{address}", wide),
    ]
    limits.check(budgets, everywhere=True)


class SignOutView(APIView):
    @operation("Sign out", status=204)
    def post(self, request: Request) -> Response:
        if isinstance(request.user, Principal):
            services.revoke_token(user_id=request.user.id, token_id=request.user.token_id)
        logout(request._request)
        return Response(status=204)


class MeView(APIView):
    @operation("My profile", response=UserView)
    def get(self, request: Request) -> Response:
        return Response(selectors.user_view(current_user(request)))

    @operation("Change my profile or password", request=ProfileChange, response=UserView)
    def patch(self, request: Request) -> Response:
        body = read_body(request, ProfileChange)
        user = current_user(request)
        changes: dict[str, str] = {} if body.name is UNSET else {"name": str(body.name)}
        if body.address is None:
            changes |= dict.fromkeys(services.PROFILE_FIELDS[1:], "")
        elif isinstance(body.address, Address):
            changes |= msgspec.structs.asdict(body.address)
        if body.new_password is not UNSET:
            current = "" if body.current_password is UNSET else str(body.current_password)
            services.change_password(
                user=user, current=current, new=str(body.new_password), request=request._request
            )
        if changes:
            services.update_profile(user=user, changes=changes)
        return Response(selectors.user_view(user))

    @operation("Withdraw: personal data is removed, orders stay", status=204)
    def delete(self, request: Request) -> Response:
        user = current_user(request)
        with transaction.atomic():
            services.withdraw(user=user)
            forget_buyer(buyer_id=user.pk)
        logout(request._request)
        return Response(status=204)


class StoresView(APIView):
    def get_permissions(self) -> list[BasePermission]:
        return [AllowAny() if self.request.method == "GET" else IsAuthenticated()]

    @operation("Stores: all accepted ones, and my own in any state", response=StorePage, query=PageQuery)
    def get(self, request: Request) -> Response:
        query = read_query(request.query_params, PageQuery)
        page = keyset_page(
            selectors.visible_stores(viewer_id=request.user.pk), ORDERINGS["newest"],
            cursor=query.cursor, page_size=query.page_size, request=request._request,
        )  # fmt: skip
        return Response(StorePage(page.next, page.previous, [selectors.store_view(s) for s in page.rows]))

    @operation(
        "Apply for a store", request=StoreApplication, response=StoreView, status=201, errors=(403, 409)
    )
    def post(self, request: Request) -> Response:
        body = read_body(request, StoreApplication)
        store = services.apply_for_store(
            owner_id=caller(request).id, role=caller(request).role, name=body.name
        )
        return Response(selectors.store_view(store), status=201)


def with_options(products: QuerySet[Product]) -> QuerySet[Product]:
    return products.select_related("category").prefetch_related(
        Prefetch("options", Option.objects.order_by("id"))
    )


def show(products: list[Product]) -> list[ProductView]:
    """Products fetched by `with_options`, with what is available of each option now."""
    ids = [option.pk for product in products for option in product.options.all()]
    return selectors.product_views(products, available_units(ids))


class ProductsView(APIView):
    def get_permissions(self) -> list[BasePermission]:
        return [AllowAny() if self.request.method == "GET" else IsAuthenticated()]

    @operation("Products", response=ProductPage, query=ProductQuery, public=True)
    def get(self, request: Request) -> Response:
        query = read_query(request.query_params, ProductQuery)
        products = selectors.filter_products(query)
        if query.in_stock is not None:
            products = in_stock(products, query.in_stock)
        page = keyset_page(
            with_options(products), selectors.ordering_named(query.ordering),
            cursor=query.cursor, page_size=query.page_size, request=request._request,
        )  # fmt: skip
        return Response(ProductPage(page.next, page.previous, show(page.rows)))

    @operation(
        "List a product", request=NewProduct, response=ProductView, status=201, errors=(403, 409),
        headers=[LOCATION],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        body = read_body(request, NewProduct)
        store = services.store_for_sale(store_id=body.store, owner_id=caller(request).id)
        category = services.category_by_slug(body.category)
        with transaction.atomic():
            product, options = services.create_product(
                store=store, category=category, name=body.name, price=body.price,
                options=[services.OptionDraft(o.sku, o.size, o.color) for o in body.options],
            )  # fmt: skip
            stock = ledger.open_stock([option.pk for option in options])
            ledger.receive_new(
                {stock[option.pk]: o.stock for option, o in zip(options, body.options, strict=True)},
                actor_id=caller(request).id, reason="first stock",
            )  # fmt: skip
        (view,) = show(list(with_options(Product.objects.filter(pk=product.pk))))
        location = reverse("product", args=[product.pk], request=request)
        return Response(view, status=201, headers={"Location": location})


class ProductDetailView(APIView):
    def get_permissions(self) -> list[BasePermission]:
        return [AllowAny() if self.request.method == "GET" else IsAuthenticated()]

    @operation("A product", response=ProductView, errors=(404,), public=True)
    def get(self, request: Request, pk: int) -> Response:
        products = list(with_options(selectors.visible_products().filter(pk=pk)))
        if not products:
            raise Http404
        return Response(show(products)[0])

    @operation(
        "Change a product of mine", request=ProductChange, response=ProductView, errors=(403, 404, 409)
    )
    def patch(self, request: Request, pk: int) -> Response:
        body = read_body(request, ProductChange)
        product = Product.objects.select_related("store").filter(pk=pk).first()
        if product is None:
            raise Http404
        if product.store.owner_id != caller(request).id:
            raise NotYourStore
        services.store_for_sale(store_id=product.store_id, owner_id=caller(request).id)
        changes: dict[str, Any] = {
            field: value for field in ("name", "price") if (value := getattr(body, field)) is not UNSET
        }
        if body.category is not UNSET:
            changes["category"] = services.category_by_slug(str(body.category))
        drafts = [] if body.options is UNSET else list(body.options)
        with transaction.atomic():
            added = services.update_product(
                product=product, changes=changes,
                options=[services.OptionDraft(o.sku, o.size, o.color) for o in drafts],
            )  # fmt: skip
            ledger.open_stock([option.pk for option in added])
        return Response(show(list(with_options(Product.objects.filter(pk=pk))))[0])
