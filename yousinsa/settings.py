"""All settings, in one file, driven by the environment (see .env.example, or the README's table)."""

import os
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from yousinsa.process.addresses import checked_redis_url, database_config

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("VAR_DIR") or BASE_DIR / "var")
VAR_DIR.mkdir(parents=True, exist_ok=True)

env = environ.Env()

# --- What kind of process this is --------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", default=False)
HTTPS = env.bool("HTTPS", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
# Known to whoever reads this: not to be had by copying it, either.
DEVELOPMENT_KEY = "development-only-" + "x" * 48
if not DEBUG and (len(SECRET_KEY) < 50 or SECRET_KEY == DEVELOPMENT_KEY):
    fault = "is the one that is public" if len(SECRET_KEY) >= 50 else "is shorter than 50 characters"
    raise ImproperlyConfigured(
        f"SECRET_KEY {fault if SECRET_KEY else 'is not set'}. Set it to a long random string (python -c "
        '"import secrets; print(secrets.token_urlsafe(64))"), or DEBUG=1 for development.'
    )
SECRET_KEY = SECRET_KEY or DEVELOPMENT_KEY
# Earlier ones, whose signatures and seals are still believed until everything has been signed anew.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
if not DEBUG and any(len(key) < 50 or key == DEVELOPMENT_KEY for key in SECRET_KEY_FALLBACKS):
    raise ImproperlyConfigured(
        "SECRET_KEY_FALLBACKS has a key that is shorter than 50 characters, or public. Name keys that "
        "SECRET_KEY was before, separated by commas, or leave it empty."
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# --- What is installed -------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "shop.desk.apps.DeskConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "treebeard",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "shop",
    "inventory",
    "orders",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "yousinsa.http.handlers.bounded_bodies",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "yousinsa.urls"
WSGI_APPLICATION = "yousinsa.wsgi.application"
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # The desk's own come before the theme's, some of which they stand in for.
        "DIRS": [BASE_DIR / "yousinsa" / "templates", BASE_DIR / "shop" / "desk" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database ----------------------------------------------------------------------------------------------

# How long a statement may wait for a lock before the request ends in 503 `busy` (MariaDB waits 50 s).
LOCK_WAIT_SECONDS = env.int("LOCK_WAIT_SECONDS", default=3)
# Connections a process may open (MariaDB, MySQL): requests borrow them; the group commit and the poll of
# token revocations keep one each.
DB_POOL_SIZE = env.int("DB_POOL_SIZE", default=12)


def database_settings(config: dict[str, Any] | None = None) -> dict[str, Any]:
    """A database, DATABASE_URL's where none is given, with the options that the stock contract needs."""
    if config is None:
        default = f"sqlite:///{VAR_DIR / 'yousinsa.sqlite3'}"
        config = database_config(env.str("DATABASE_URL", default="") or default)
    options: dict[str, Any] = config.setdefault("OPTIONS", {})
    if config["ENGINE"] == "django.db.backends.sqlite3":
        # SQLite ignores select_for_update: a transaction that writes takes the one write lock when it begins.
        options["transaction_mode"] = "IMMEDIATE"
        options["timeout"] = LOCK_WAIT_SECONDS
        options["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        # Tests use a file as well: an in-memory database has neither WAL nor a second process.
        config["TEST"] = {"NAME": str(VAR_DIR / f"test-{os.getpid()}.sqlite3")}
    else:
        options["isolation_level"] = "read committed"
        options["charset"] = "utf8mb4"
        options["init_command"] = (
            f"SET SESSION innodb_lock_wait_timeout={LOCK_WAIT_SECONDS}, sql_mode='STRICT_ALL_TABLES'"
        )
        config["ENGINE"] = "yousinsa.db.mysql"
    return config


DATABASES = {"default": database_settings()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis: cache, limits, drops ---------------------------------------------------------------------------

REDIS_URL = env.str("REDIS_URL", default="")
if REDIS_URL:
    checked_redis_url(REDIS_URL)
CACHES: dict[str, Any] = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if REDIS_URL:
    CACHES["default"] = {
        "BACKEND": "yousinsa.process.redis_cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "yousinsa-json",
        "OPTIONS": {
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "SOCKET_CONNECT_TIMEOUT": 0.5,
            "SOCKET_TIMEOUT": 0.5,
        },
    }
# Not in the cache: nobody is signed out because Redis is down, slow, full or empty.
SESSION_ENGINE = "django.contrib.sessions.backends.db"

# --- Who is who --------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "shop.User"
PASSWORD_HASHERS = [
    "yousinsa.security.passwords.Argon2Hasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# Passwords that a process hashes at once, and those that may wait for it; whoever comes after that is told to
# come again. Of those that wait, few keep a thread: the others are answered later (security/passwords.py).
HASH_THREADS, HASH_QUEUE, HASH_WAITING_THREADS = 1, 32, 4
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

# A token is a signed statement that needs no look-up; what was revoked is polled (yousinsa/auth.py).
TOKEN_HOURS = env.int("TOKEN_HOURS", default=24)
# How browsers carry it. No other host, and nobody in between without TLS, can set a cookie of the first name.
TOKEN_COOKIE = "__Host-token" if HTTPS else "token"
TOKEN_REVOCATIONS = "shop.selectors.token_revocations"  # noqa: S105
TOKEN_REVOCATION_POLL_SECONDS = 2

# --- Limits ------------------------------------------------------------------------------------------------

ORDER_RATE = env.str("ORDER_RATE", default="20/s")
SIGN_IN_RATE = env.str("SIGN_IN_RATE", default="10/min")
SIGN_UP_RATE = env.str("SIGN_UP_RATE", default="30/min")
# Attempts to pay, for an order; three times that for a buyer, thirty times for an address.
PAYMENT_RATE = env.str("PAYMENT_RATE", default="10/min")
# How many proxies in front are trusted to have appended to X-Forwarded-For.
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)
# The longest body of a request, and of one with files, which operators alone may send.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
# A product or a drop with all the options that it may have is a form of some 1,500 fields.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5_000
UPLOAD_MAX_BYTES = 24 * 1024 * 1024

# --- Orders ------------------------------------------------------------------------------------------------

# Whether the provider that approves any card may be chosen: for demonstrations and tests.
PAYMENT_SANDBOX = env.bool("PAYMENT_SANDBOX", default=bool(DEBUG))
PLACEMENT = env.str("PLACEMENT", default="group_commit")
# Orders that wait in one process; whoever comes after that is told to come again. They keep no threads.
ORDER_QUEUE = 2000
ORDER_HOLD_MINUTES = env.int("ORDER_HOLD_MINUTES", default=15)
# How long the units are held for a buyer who chose to transfer the money.
TRANSFER_HOLD_HOURS = env.int("TRANSFER_HOLD_HOURS", default=24)
# What one buyer may hold without paying, orders of drops aside; 0: no limit.
UNPAID_ORDERS = env.int("UNPAID_ORDERS", default=20)
UNPAID_UNITS = env.int("UNPAID_UNITS", default=100)
# What the shop keeps of a store's sales where the store has no rate of its own, in hundredths of a percent.
COMMISSION_RATE = env.int("COMMISSION_RATE", default=1000)
if not 0 <= COMMISSION_RATE <= 10_000:
    raise ImproperlyConfigured(f"COMMISSION_RATE is 0 to 10000 (1000 is 10%), not {COMMISSION_RATE}")
# Whether what one made is approved by another: 1, 0, or auto: where two people have the right to approve.
FOUR_EYES = env.str("FOUR_EYES", default="auto")
if FOUR_EYES not in ("auto", "1", "0"):
    raise ImproperlyConfigured(f"FOUR_EYES is auto, 1 or 0, not {FOUR_EYES!r}")
# How often a process writes down what it acknowledged and refused of drops (drops/admission/tallies.py).
DROP_TALLY_SECONDS = 0.5

# --- API ---------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "yousinsa.auth.BearerAuthentication",
        "yousinsa.auth.CookieAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["yousinsa.http.bodies.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "yousinsa.http.bodies.Negotiation",
    "DEFAULT_RENDERER_CLASSES": ["yousinsa.http.bodies.JSONRenderer"]
    + (["rest_framework.renderers.BrowsableAPIRenderer"] if DEBUG else []),
    "DEFAULT_SCHEMA_CLASS": "yousinsa.http.schema.AutoSchema",
    "EXCEPTION_HANDLER": "yousinsa.error_handlers.problem_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "NUM_PROXIES": TRUSTED_PROXIES,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "YOUSINSA",
    "DESCRIPTION": "A fashion marketplace that sells exactly what there is.\n\n"
    "Whole numbers are written without fraction and exponent: `1`, not `1.0` or `1e0`.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [],
}

# --- Words, time, files ------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("ko", _("Korean"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "Asia/Seoul"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedStaticFilesStorage"
    },
}

# --- The desk ----------------------------------------------------------------------------------------------

# Whether operators need a second factor (TOTP) to sign in: `optional`, or `required` of everybody.
ADMIN_TOTP = env.str("ADMIN_TOTP", default="optional")
if ADMIN_TOTP not in ("optional", "required"):
    raise ImproperlyConfigured(f"ADMIN_TOTP is optional or required, not {ADMIN_TOTP!r}")
OTP_TOTP_ISSUER = "YOUSINSA"

UNFOLD = {
    "SITE_TITLE": "YOUSINSA",
    "SITE_HEADER": "YOUSINSA",
    "SITE_SUBHEADER": _("operators' desk"),
    "SITE_SYMBOL": "checkroom",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("desk/icon.svg")}
    ],
    "SHOW_LANGUAGES": True,
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [lambda request: static("desk/colors.css"), lambda request: static("desk/desk.css")],
    "SCRIPTS": [lambda request: static("desk/nothing_inline.js"), lambda request: static("desk/icons.js")],
    "ACCOUNT": {
        "navigation": [
            {"title": _("Change password"), "link": reverse_lazy("admin:password_change")},
            {"title": _("Second factor"), "link": reverse_lazy("admin:second_factor")},
        ]
    },
    "DASHBOARD_CALLBACK": "orders.admin.front_page.page.context",
    "SIDEBAR": {"show_search": True, "navigation": "shop.desk.navigation.rooms"},
}

# --- Security ----------------------------------------------------------------------------------------------

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 7 * 24 * 3600
if HTTPS:
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

# --- Log ---------------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    # A refused order is an answer, not an error of ours.
    "filters": {
        "unforeseen": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", 500) != 503,
        }
    },
    "loggers": {"django.request": {"level": "ERROR", "filters": ["unforeseen"]}},
}
