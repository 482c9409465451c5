"""Sessions at the desk end when nobody has used them for half a day, whatever their cookie says."""

import time
from datetime import timedelta
from typing import Any

from django.contrib.auth import logout
from django.http import HttpRequest

IDLE = timedelta(hours=12)
# How often it is noted that somebody is there: each time is a write.
NOTED = timedelta(minutes=5)
SEEN = "desk_seen"


def end_or_note(request: HttpRequest) -> None:
    """Sign a user out who comes back after `IDLE`; else note that they are there."""
    user: Any = request.user
    if not user.is_authenticated:
        return
    now = time.time()
    # A session that was never at the desk is as old as the signing in.
    began = user.last_login.timestamp() if user.last_login else 0.0
    seen = float(request.session.get(SEEN, began))
    if now - seen > IDLE.total_seconds():
        logout(request)
    elif SEEN not in request.session or now - seen > NOTED.total_seconds():
        request.session[SEEN] = int(now)
