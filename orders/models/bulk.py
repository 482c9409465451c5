"""What an operator does to many orders at once: the run, and each order's row in it."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from orders.models.orders import Order
from yousinsa.db.fields import ExactCharField

# Workers look for runs every second; one that waits for so long finds no worker.
UNCLAIMED = timedelta(minutes=1)


class BulkRun(models.Model):
    """One thing that is done to many orders: drafted and looked at, begun once, carried out by a worker.

    `held_until`: until when a worker has it to itself. `language`: that of who drafted it, for the reasons.
    """

    class Action(models.TextChoices):
        SHIP = "ship", pgettext_lazy("bulk", "ship")
        DELIVER = "deliver", pgettext_lazy("bulk", "mark as delivered")
        CONFIRM = "confirm", pgettext_lazy("bulk", "confirm payment")

    class Status(models.TextChoices):
        DRAFT = "draft", pgettext_lazy("bulk", "not begun")
        RUNNING = "running", pgettext_lazy("bulk", "under way")
        DONE = "done", pgettext_lazy("bulk", "done")

    action = models.CharField(_("what"), max_length=10, choices=Action.choices)
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.DRAFT)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("by"))
    source = models.CharField(_("source"), max_length=100, blank=True, default="")
    language = models.CharField(_("language"), max_length=10)
    created_at = models.DateTimeField(_("drafted at"), default=timezone.now)
    begun_at = models.DateTimeField(_("begun at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    held_until = models.DateTimeField(_("held until"), null=True, blank=True)

    class Meta:
        verbose_name = _("bulk run")
        verbose_name_plural = _("bulk runs")
        default_permissions = ()  # those of what is done
        ordering = ["-id"]
        indexes = [models.Index(fields=["status"], name="bulkrun_status")]
        constraints = [
            models.CheckConstraint(
                condition=Q(action__in=["ship", "deliver", "confirm"]), name="bulkrun_action_known"
            ),
            models.CheckConstraint(
                condition=Q(status="draft", begun_at__isnull=True, finished_at__isnull=True)
                | Q(status="running", begun_at__isnull=False, finished_at__isnull=True)
                | Q(status="done", begun_at__isnull=False, finished_at__isnull=False),
                name="bulkrun_times_fit_status",
            ),
            models.CheckConstraint(
                condition=Q(held_until__isnull=True) | Q(status="running"), name="bulkrun_held_while_running"
            ),
        ]

    def __str__(self) -> str:
        return f"{timezone.localtime(self.created_at):%Y-%m-%d %H:%M:%S}, {self.get_action_display()}"

    @property
    def unclaimed(self) -> bool:
        """It was begun, and no worker has tried any of it though there was time to."""
        return (
            self.status == self.Status.RUNNING
            and self.begun_at is not None
            and self.begun_at < timezone.now() - UNCLAIMED
            and not self.rows.filter(tried_at__isnull=False).exists()
        )


class BulkRow(models.Model):
    """An order in a run: what is asked for, and what became of it.

    `said`: why it was refused, or how it went otherwise than expected. `tried_at`: fixed before the first
    attempt and kept by every other one; what was done bears this moment, so that it is known to be done.
    """

    class State(models.TextChoices):
        WAITING = "waiting", pgettext_lazy("bulk", "waiting")
        DONE = "done", pgettext_lazy("bulk", "done")
        REFUSED = "refused", pgettext_lazy("bulk", "refused")

    run = models.ForeignKey(BulkRun, models.CASCADE, related_name="rows", verbose_name=_("bulk run"))
    place = models.IntegerField(_("row"), help_text=_("In the file, or in the list that was chosen from."))
    number = ExactCharField(_("order"), max_length=40, blank=True, help_text=_("As it was given."))
    # Not checked by the database: a draft must not wait for who holds the orders, nor these for a draft.
    order = models.ForeignKey(
        Order,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("order"),
        db_constraint=False,
    )
    carrier = models.CharField(_("carrier"), max_length=50, blank=True, default="")
    tracking_number = models.CharField(_("tracking number"), max_length=50, blank=True, default="")
    state = models.CharField(_("outcome"), max_length=10, choices=State.choices, default=State.WAITING)
    said = models.CharField(_("reason"), max_length=300, blank=True, default="")
    tried_at = models.DateTimeField(_("tried at"), null=True, blank=True)

    class Meta:
        verbose_name = _("row of a bulk run")
        verbose_name_plural = _("rows of bulk runs")
        default_permissions = ()  # those of its run
        ordering = ["run", "place"]
        indexes = [models.Index(fields=["run", "state", "place"], name="bulkrow_run_state_place")]
        constraints = [
            models.UniqueConstraint(fields=["run", "place"], name="bulkrow_place_unique"),
            models.UniqueConstraint(fields=["run", "order"], name="bulkrow_order_once_a_run"),
            models.CheckConstraint(
                condition=Q(state="refused") | Q(state__in=["waiting", "done"], order__isnull=False),
                name="bulkrow_has_order_or_is_refused",
            ),
            models.CheckConstraint(
                condition=~Q(state="refused") | ~Q(said=""), name="bulkrow_refused_says_why"
            ),
            models.CheckConstraint(
                condition=~Q(state="done") | Q(tried_at__isnull=False), name="bulkrow_done_was_tried"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number}: {self.get_state_display()}"
