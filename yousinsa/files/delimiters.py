"""What stands between the cells of a text file."""

import re

_HINT = re.compile(r'"?sep=(?P<mark>[^"\r\n])"?[,;\t]*\s*', re.IGNORECASE)
_MARKS = ",;\t"


def hinted(line: str) -> str:
    """The mark that a first line like `sep=;` names, empty for any other line."""
    found = _HINT.fullmatch(line)
    return found["mark"] if found else ""


def guessed(head: str) -> str:
    """The mark that a line of column names is divided by."""
    return max(_MARKS, key=head.count)
