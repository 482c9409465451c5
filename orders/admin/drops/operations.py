"""What operators do to a drop: open, pause, resume, close, rebuild."""

from typing import Any

from django.utils.translation import gettext, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from orders.drops import services
from orders.drops.audit.rebuild import rebuild
from orders.models.drops import DropStatus
from shop.desk.operations import Operation, OperationForm


class OpenForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        services.open_drop(self.record.pk, actor_id=actor_id, anew=True)


class PauseForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        services.pause_drop(self.record.pk, anew=True)


class ResumeForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        services.resume_drop(self.record.pk, anew=True)


class CloseForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        if not services.close_drop(self.record.pk, actor_id=actor_id, anew=True):
            self.warning = gettext("closed; it is settled as soon as the rest of its orders is written.")


class RebuildForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        rebuilt = rebuild(self.record.pk)
        units = sum(rebuilt.left.values())
        left = ngettext("open again, %d unit left.", "open again, %d units left.", units) % units
        lost = ngettext("%d unit unaccounted for.", "%d units unaccounted for.", rebuilt.unaccounted)
        self.result = f"{left} {lost % rebuilt.unaccounted}"


def _is(*statuses: DropStatus, paused: bool | None = None) -> Any:
    return lambda drop: drop.status in statuses and paused in (None, drop.paused)


OPEN = Operation(
    name="open",
    label=_("open now"),
    explanation=_("The allotment is set aside from what is available, and the sale begins at once."),
    done=_("open."),
    form=OpenForm,
    possible=_is(DropStatus.SCHEDULED),
    action=_("Open selected drops now"),
    done_many=ngettext_lazy("%d drop opened.", "%d drops opened."),
    asks=True,
)
PAUSE = Operation(
    name="pause",
    label=_("pause"),
    explanation=_("Nothing is sold until it is resumed. Orders that were accepted go on."),
    done=_("paused."),
    form=PauseForm,
    possible=_is(DropStatus.OPEN, paused=False),
    action=_("Pause selected drops"),
    done_many=ngettext_lazy("%d drop paused.", "%d drops paused."),
)
RESUME = Operation(
    name="resume",
    label=_("resume"),
    explanation=_("The sale goes on with what is left."),
    done=_("selling again."),
    form=ResumeForm,
    possible=_is(DropStatus.OPEN, paused=True),
    action=_("Resume selected drops"),
    done_many=ngettext_lazy("%d drop resumed.", "%d drops resumed."),
)
CLOSE = Operation(
    name="close",
    label=_("close"),
    explanation=_(
        "This cannot be undone. Orders that were accepted are written; what is left of the allotment is "
        "available again."
    ),
    done=_("closed and settled."),
    form=CloseForm,
    possible=_is(DropStatus.SCHEDULED, DropStatus.OPEN, DropStatus.CLOSED),
    action=_("Close selected drops"),
    done_many=ngettext_lazy("%d drop closed.", "%d drops closed."),
    asks=True,
)
REBUILD = Operation(
    name="rebuild",
    label=_("rebuild counters"),
    explanation=_(
        "For a drop that Redis lost or that is not to be believed. It is shut, its accepted orders are "
        "written, its counters and limits are computed from the database, and it is opened again."
    ),
    done=_("open again."),
    form=RebuildForm,
    possible=lambda drop: drop.on_redis and drop.status == DropStatus.OPEN,
)
