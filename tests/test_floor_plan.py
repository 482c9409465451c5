"""The size of things: what outgrows these bounds becomes rooms named after what they do."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support.server import ROOT

APPS = ("yousinsa", "shop", "inventory", "orders")
FILE_LINES, FUNCTION_LINES, FOLDER_MODULES = 400, 50, 12


def modules() -> Iterator[Path]:
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            if "migrations" not in path.parts:
                yield path


def test_no_file_is_longer_than_a_reader_holds_in_the_head() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in modules()}
    assert {path: n for path, n in lengths.items() if n > FILE_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}


def test_no_folder_holds_more_modules_than_a_glance_takes_in() -> None:
    counts = Counter(path.parent.relative_to(ROOT) for path in modules() if path.name != "__init__.py")
    assert {folder: n for folder, n in counts.items() if n > FOLDER_MODULES} == {}


def test_every_package_says_what_lives_there() -> None:
    silent = []
    for path in modules():
        # Django looks for these two folders; what lives there is said by their names.
        if path.name == "__init__.py" and not {"management", "commands"} & {path.parent.name}:
            if not ast.get_docstring(ast.parse(path.read_text())):
                silent.append(path.parent.relative_to(ROOT))
    assert silent == []
