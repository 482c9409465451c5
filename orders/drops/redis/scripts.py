"""The Lua scripts of `lua/`, and the words that they share with Python."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError

from orders.drops.redis.answers import Answer, GateStatus, GiveBack

LUA = Path(__file__).parent / "lua"
WORDS = {"ANSWER": Answer, "GATE": GateStatus, "GIVE_BACK": GiveBack}
# In front of every script; Redis refuses a script that reads a word which is not there.
PRELUDE = "\n".join(
    f"local {prefix}_{word.name} = '{word.value}'" for prefix, words in WORDS.items() for word in words
)


class Script:
    """A Lua script from the files of `lua/`, put together in order."""

    def __init__(self, *names: str) -> None:
        self.source = "\n".join((PRELUDE, *((LUA / name).read_text() for name in names)))
        self.sha = hashlib.sha1(self.source.encode()).hexdigest()  # noqa: S324 (it names the script)

    def run(self, client: Any, keys: Sequence[str], *args: Any) -> Any:
        """Run it by an ordinary client. Raises `RedisError`."""
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(self.source, len(keys), *keys, *args)
