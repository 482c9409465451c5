"""What a connection has sent so far, and whether that is a whole request yet.

Bytes only: nothing here reads a socket or knows the application (worker.py says why). What a request means is
for gunicorn's parser to say; here is found where it ends, so that no thread has to wait for the rest of it.
"""

import re

# A request's line and headers. Where they are longer, no proxy in front would have let them pass either.
MAX_HEAD = 64 << 10
# A body that is gathered here before a thread gets to see it. Longer ones, which only operators may send, are
# read by a thread, as they come.
MAX_BODY = 1 << 20
# From the first byte on: for a head, and for a body beyond what BYTES_A_SECOND allow for what came of it.
SECONDS = 10.0
BYTES_A_SECOND = 16 << 10

MORE, WHOLE, LARGE = "more", "whole", "large"

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;|$)")
_MAX_CHUNK_LINE = 8190
_CHUNK_FRAMES = 64 << 10


class Unfit(Exception):
    """What was sent can be no request, or is more than we take; `status` is the answer to it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Intake:
    """One request on its way in. `began` is when its first byte came, or the connection where none did."""

    __slots__ = ("_body_at", "_chunk_at", "began", "data", "last", "length")

    def __init__(self, now: float) -> None:
        self.began = now
        self.data = bytearray()
        self.last = False  # nothing more is to come: the client said so
        self.length = 0  # of the body; -1: in chunks, each of which says its own
        self._body_at = 0  # 0 while the head has not ended
        self._chunk_at = 0

    def feed(self, piece: bytes, now: float) -> str:
        """Take what came; says whether that makes a request (MORE, WHOLE, LARGE). Raises `Unfit`."""
        data = self.data
        if not data:
            self.began = now
        data += piece
        if not self._body_at:
            end = data.find(b"\r\n\r\n", max(0, len(data) - len(piece) - 3))
            if end < 0:
                return self._half_a_head()
            self._body_at = end + 4
            if end > MAX_HEAD:
                raise Unfit(431)
            if self._knows_no_body(end):
                return WHOLE
        if self.length > MAX_BODY:
            return LARGE
        whole = self._chunks_end() if self.length < 0 else len(data) - self._body_at >= self.length
        if whole:
            return WHOLE
        if len(data) - self._body_at > MAX_BODY + _CHUNK_FRAMES:
            raise Unfit(413)
        return MORE

    def is_late(self, now: float) -> bool:
        """Whether its sender took too long: for the head, or for so much of the body."""
        return now > self.began + SECONDS + (len(self.data) / BYTES_A_SECOND if self._body_at else 0)

    @property
    def has_head(self) -> bool:
        return self._body_at > 0

    @property
    def wants_to_be_asked(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends the body."""
        head = bytes(self.data[: self._body_at]).lower()
        return b"\r\nexpect:" in head and b" http/1.1\r\n" in head

    def _half_a_head(self) -> str:
        data = self.data
        if len(data) > MAX_HEAD:
            raise Unfit(414 if data.find(b"\r\n") < 0 else 431)
        # A line that ends in LF alone: this head will never end. The parser has the words for it.
        return WHOLE if data.count(b"\n") != data.count(b"\r\n") else MORE

    def _knows_no_body(self, end: int) -> bool:
        """Read from the head how long the body is; True where there is none, or none that makes sense."""
        head = bytes(self.data[: end + 2]).lower()
        at = head.find(b"\r\ntransfer-encoding:")
        if at >= 0:
            if not head[at : head.find(b"\r\n", at + 2)].rstrip(b" \t").endswith(b"chunked"):
                return True  # for the parser to refuse
            self.length, self._chunk_at = -1, end + 4
            return False
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            return True
        value = head[at + 17 : head.find(b"\r\n", at + 2)].strip(b" \t")
        if not value.isdigit():
            return True  # for the parser to refuse
        self.length = int(value[:20])
        return self.length == 0

    def _chunks_end(self) -> bool:
        """Whether the last chunk and what may follow it are there, or something that is no chunk."""
        data = self.data
        while True:
            at = self._chunk_at
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                return len(data) - at > _MAX_CHUNK_LINE
            found = _CHUNK_SIZE.match(data[at:line_end])
            if found is None:
                return True  # for the parser to refuse
            size = int(found[1], 16)
            if not size:
                return data.find(b"\r\n\r\n", line_end) >= 0
            if size > MAX_BODY:
                raise Unfit(413)
            following = line_end + 2 + size + 2
            if len(data) < following:
                return False
            self._chunk_at = following
