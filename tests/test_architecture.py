"""The architecture as the code has it: layers, pure modules, who imports what, where SQL stands, how long a module is.

Sources are read, not imported, so a module that does not exist yet breaks nothing. Each rule is also shown sources that
break it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 500

#: From the bottom up. A module imports from its own layer and from those below; `replay` also stands for `replay_keys`.
LAYERS = (
    ("errors", "text", "moment", "base58", "clock", "faults"),
    ("merkle", "signing"),
    ("note", "tiles"),
    (
        "status",
        "block",
        "entry",
        "message",
        "checkpoint",
        "cosignature",
        "policy",
        "tlogproof",
        "tlogwitness",
        "slots",
        "keyfile",
    ),
    ("badges", "replay", "assemble", "units", "evidence", "documents"),
    ("authenticity",),
    (
        "receipt",
        "proof_json",
        "dated",
        "badge_history",
        "inspection",
        "verdict",
        "verify",
        "credential",
        "localreceipts",
        "statuslist",
        "listproof",
    ),
    ("store", "tilereader"),
    (
        "sequencer",
        "publisher",
        "guard",
        "publication",
        "lookup",
        "duplicates",
        "prover",
        "listprover",
        "dated_prover",
        "history_prover",
        "gather",
        "history",
    ),
    ("node", "issuers", "answers", "client", "auditor", "witness", "mirror", "check", "restore"),
    ("cli",),
    ("api",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
#: Layers up to here are pure, with these exceptions: they are what the pure ones are handed, or read key files.
PURE_UP_TO = RANK["receipt"]
IMPURE = {"clock", "faults", "keyfile"}
#: Single modules of a pure package: the contexts are files, and keys may come from the network.
IMPURE_MODULES = {"ledger.authenticity.contexts", "ledger.authenticity.online"}

NOT_IN_PURE = (
    "asyncio",
    "concurrent",
    "http",
    "importlib",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "structlog",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib.request",
    "uuid",
)
#: Calls that read the world without an import, or a clock through a harmless one.
NOT_CALLED_IN_PURE = {"open", "print", "input", "now", "utcnow", "today"}

#: Who alone may import a library: exact modules or packages.
ONLY = {
    "aiohttp": ("api", "ledger.client"),
    "asyncpg": ("ledger.store",),
    "nacl": ("ledger.signing", "ledger.badges"),
    # Keys of badges come in forms and kinds that the log's own do not have: P-256, P-384, RSA; JWK, PEM.
    "cryptography": ("ledger.signing", "ledger.badges", "ledger.authenticity.publickey"),
    "jwt": ("ledger.authenticity.publickey",),
    "openvc": ("ledger.authenticity", "ledger.credential"),
    "pyld": ("ledger.authenticity.contexts", "ledger.authenticity.rdf", "ledger.credential"),
    "rfc8785": ("ledger.badges",),
    # The contexts that it bundles are what a badge is signed under.
    "openbadgeslib": ("ledger.badges", "ledger.credential", "ledger.authenticity.contexts"),
    # A register of one row beside the database, with its own statements; a witness keeps its state the same way.
    "sqlite3": ("ledger.guard", "ledger.witness"),
}
SQL_IN = ("ledger.store", *ONLY["sqlite3"])
SQL = re.compile(
    r"\bSELECT\s.+\sFROM\s|\bINSERT\s+INTO\s|\bUPDATE\s+\w+\s+SET\s|\bDELETE\s+FROM\s|\bCREATE\s+(UNIQUE\s+)?(TABLE|INDEX)\s"
    r"|(?i:^\s*(select\s.+\sfrom\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|(create|alter|drop)\s+table\s))",
    re.DOTALL,
)
#: What a verifier needs, which must work where neither a server nor a database client is installed.
VERIFIER = (
    "ledger.authenticity.check",
    "ledger.authenticity.lists",
    "ledger.badge_history",
    "ledger.badges",
    "ledger.cli",
    "ledger.cli.inspect",
    "ledger.cli.verify",
    "ledger.cli.verifying",
    "ledger.dated",
    "ledger.inspection",
    "ledger.merkle",
    "ledger.policy",
    "ledger.receipt",
    "ledger.receipt_json",
    "ledger.replay",
    "ledger.tlogproof",
    "ledger.verdict",
    "ledger.verdict_dated",
    "ledger.verify",
)


class Import(NamedTuple):
    """One imported module; `names` are what `from` takes out of it; `lazy` means inside a function."""

    module: str
    names: tuple[str, ...]
    lazy: bool

    def roots(self) -> set[str]:
        """The module and what may be submodules of it, as dotted names."""
        return {self.module, *(f"{self.module}.{name}" for name in self.names)}


class Module:
    """A source file under its dotted name."""

    def __init__(self, name: str, source: str, *, package: bool = False) -> None:
        self.name = name
        self.source = source
        self.tree = ast.parse(source, filename=name)
        self.imports = list(self._imports(self.tree, package=package, lazy=False))

    def _imports(self, node: ast.AST, *, package: bool, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, (), lazy)
            elif isinstance(child, ast.ImportFrom):
                base = self.name.split(".")
                base = base[: len(base) - child.level + package] if child.level else []
                module = ".".join([*base, *([child.module] if child.module else [])])
                yield Import(module, tuple(alias.name for alias in child.names), lazy)
            elif isinstance(child, ast.Call) and called(child) in {"import_module", "__import__"} and child.args:
                name = child.args[0]
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    yield Import(name.value, (), lazy)
            inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from self._imports(child, package=package, lazy=inside)


def called(call: ast.Call) -> str:
    """The last name of what is called: `now` for `datetime.now()`."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def within(name: str, places: tuple[str, ...]) -> bool:
    """The dotted name is one of the places or inside one."""
    return any(name == place or name.startswith(place + ".") for place in places)


def unit(name: str) -> str | None:
    """What the table of layers calls a dotted name: `replay` for ledger.replay_keys, `store` for ledger.store.reads."""
    parts = name.split(".")
    if parts[0] == "api":
        return "api"
    if parts[0] != "ledger" or len(parts) == 1:
        return None
    stem = parts[1]
    while stem not in RANK and "_" in stem:
        stem = stem.rpartition("_")[0]
    return stem


def exists(name: str) -> bool:
    """There is a source for the dotted name."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def modules() -> list[Module]:
    """Every source of the two packages."""
    found = []
    for top in ("ledger", "api"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if package else parts)
            found.append(Module(name, path.read_text(encoding="utf-8"), package=package))
    return found


# The rules: each gives what is wrong with one module -----------------------------------------------------------------


def has_a_layer(module: Module) -> list[str]:
    name = unit(module.name)
    return (
        [] if name is None or name in RANK else [f"{module.name} has no layer: name one in tests/test_architecture.py"]
    )


def points_down(module: Module) -> list[str]:
    own = RANK.get(unit(module.name) or "")
    if own is None:
        return []
    wrong = []
    for imported in module.imports:
        # `from ledger import tiles` names a module after `import`, everything else before it.
        whole = imported.module == "ledger"
        for target in {f"ledger.{name}" for name in imported.names} if whole else {imported.module}:
            rank = RANK.get(unit(target) or "", 0)
            if rank > own and not (unit(target) == "api" and unit(module.name) == "cli"):
                wrong.append(f"{module.name} imports {target}, which is above it")
    return wrong


def api_is_imported_lazily(module: Module) -> list[str]:
    if within(module.name, ("api",)):
        return []
    return [
        f"{module.name} imports {imported.module}"
        for imported in module.imports
        if within(imported.module, ("api",)) and not (imported.lazy and within(module.name, ("ledger.cli",)))
    ]


def is_pure(module: Module) -> list[str]:
    name = unit(module.name)
    if name is None or RANK.get(name, PURE_UP_TO + 1) > PURE_UP_TO or name in IMPURE:
        return []
    if module.name in IMPURE_MODULES:
        return []
    wrong = [
        f"{module.name} is pure and imports {imported.module}"
        for imported in module.imports
        if any(within(root, NOT_IN_PURE) for root in imported.roots())
    ]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and called(node) in NOT_CALLED_IN_PURE:
            wrong.append(f"{module.name} is pure and calls {called(node)}() in line {node.lineno}")
    return wrong


def libraries_stay_in_their_place(module: Module) -> list[str]:
    return [
        f"{module.name} imports {imported.module}, which only {' and '.join(places)} may"
        for imported in module.imports
        for library, places in ONLY.items()
        if within(imported.module, (library,)) and not within(module.name, places)
    ]


def sql_stays_in_the_store(module: Module) -> list[str]:
    if within(module.name, SQL_IN):
        return []
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        f"{module.name} has SQL in line {node.lineno}: {node.value[:60]!r}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
        and SQL.search(node.value)
    ]


def is_short(module: Module) -> list[str]:
    lines = len(module.source.splitlines())
    return [f"{module.name} has {lines} lines"] if lines > MAX_LINES else []


def says_what_it_is(module: Module) -> list[str]:
    return [] if ast.get_docstring(module.tree) else [f"{module.name} has no docstring"]


RULES: tuple[Callable[[Module], list[str]], ...] = (
    has_a_layer,
    points_down,
    api_is_imported_lazily,
    is_pure,
    libraries_stay_in_their_place,
    sql_stays_in_the_store,
    is_short,
    says_what_it_is,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Callable[[Module], list[str]]) -> None:
    """No module of ledger/ and api/ breaks it."""
    found = modules()
    assert len(found) > 10
    assert [wrong for module in found for wrong in rule(module)] == []


def test_imports_make_no_circle() -> None:
    """What modules import when they are loaded has an order, inside a layer too."""
    names = {module.name for module in modules()}
    needs = {
        module.name: {root for imported in module.imports if not imported.lazy for root in imported.roots() & names}
        - {module.name}
        # A package's __init__ may gather its own modules, and `from package import module` names both.
        - {".".join(module.name.split(".")[:depth]) for depth in range(1, module.name.count(".") + 1)}
        for module in modules()
    }
    while needs:
        ready = {name for name, wanted in needs.items() if not wanted & needs.keys()}
        assert ready, f"a circle among {sorted(needs)}"
        needs = {name: wanted for name, wanted in needs.items() if name not in ready}


@pytest.mark.parametrize("name", [name for name in VERIFIER if exists(name)])
def test_verifying_loads_neither_server_nor_database(name: str) -> None:
    """A fresh interpreter that imports what a verifier needs has loaded neither of them, nor the layers that do."""
    code = (
        f"import sys, {name}\n"
        "heavy = {'aiohttp', 'asyncpg', 'api', 'ledger.store', 'ledger.client', 'ledger.node'}\n"
        "print(*sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


# The rules can fail --------------------------------------------------------------------------------------------------

BROKEN = [
    (has_a_layer, "ledger.surprise", "import ledger.errors"),
    (has_a_layer, "ledger.surprise_text", ""),
    (points_down, "ledger.merkle", "from ledger.tiles import Tile"),
    (points_down, "ledger.merkle", "from ledger import errors, tiles"),
    (points_down, "ledger.merkle", "from . import tiles"),
    (points_down, "ledger.badges.read", "from ..receipt import load"),
    (points_down, "ledger.replay_keys", "def f():\n    import ledger.receipt_json"),
    (points_down, "ledger.receipt", "from ledger.store.reads import x"),
    (points_down, "ledger.node", "from ledger.cli import main"),
    (points_down, "ledger.node", "from api.app import serve"),
    (api_is_imported_lazily, "ledger.cli", "from api.app import serve"),
    (api_is_imported_lazily, "ledger.cli.serve", "import api"),
    (api_is_imported_lazily, "ledger.node", "def f():\n    import api.app"),
    (is_pure, "ledger.merkle", "import os"),
    (is_pure, "ledger.merkle", "import os.path"),
    (is_pure, "ledger.merkle", "from os import environ"),
    (is_pure, "ledger.tiles", "def f():\n    from urllib import request"),
    (is_pure, "ledger.replay_state", "import time as t"),
    (is_pure, "ledger.badges.dates", "from datetime import datetime\nx = datetime.now()"),
    (is_pure, "ledger.receipt_json", "x = open('f')"),
    (is_pure, "ledger.authenticity.keys", "import socket"),
    (is_pure, "ledger.note", "import importlib\nx = importlib.import_module('json')"),
    (libraries_stay_in_their_place, "ledger.auditor", "import aiohttp"),
    (libraries_stay_in_their_place, "ledger.clients", "import aiohttp"),
    (libraries_stay_in_their_place, "api.log", "from asyncpg.exceptions import PostgresError"),
    (libraries_stay_in_their_place, "ledger.note", "from nacl.bindings import crypto_sign"),
    (libraries_stay_in_their_place, "ledger.cosignature", "def f():\n    import cryptography.hazmat"),
    (libraries_stay_in_their_place, "ledger.sequencer", "x = __import__('asyncpg')"),
    (libraries_stay_in_their_place, "ledger.verdict", "def f():\n    import jwt"),
    (libraries_stay_in_their_place, "ledger.authenticity.jwt", "from pyld import jsonld"),
    (sql_stays_in_the_store, "ledger.sequencer", "q = 'SELECT size FROM head FOR UPDATE'"),
    (sql_stays_in_the_store, "api.log", "def f(t):\n    return f'DELETE FROM {t} WHERE 1'"),
    (sql_stays_in_the_store, "ledger.node", "q = '''\n  insert into head\n values (1)'''"),
    (sql_stays_in_the_store, "ledger.stores", "q = 'UPDATE head SET size = 1'"),
    (is_short, "ledger.merkle", "x = 1\n" * 501),
    (says_what_it_is, "ledger.merkle", "# a comment"),
]


@pytest.mark.parametrize(
    ("rule", "name", "source"), BROKEN, ids=[f"{r.__name__}-{k}" for k, (r, _, _) in enumerate(BROKEN)]
)
def test_a_rule_sees_what_breaks_it(rule: Callable[[Module], list[str]], name: str, source: str) -> None:
    """Each rule objects to a source made to break it."""
    assert rule(Module(name, source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("ledger.cli.serve", "def f():\n    from api.app import serve"),
        ("ledger.client", "import aiohttp, asyncio"),
        ("ledger.store.reads", "from ledger.tiles import Tile\nimport asyncpg\nq = 'SELECT size FROM head'"),
        ("ledger.signing", "import nacl.bindings\nfrom cryptography import x509"),
        ("ledger.clock", "import asyncio, time"),
        ("ledger.badges.read", "from urllib.parse import urlsplit\nfrom datetime import datetime"),
        ("ledger.node", "'Takes the head: SELECT size FROM head FOR UPDATE.'\nx = 'select a badge'"),
    ],
)
def test_no_rule_objects_to_what_is_allowed(name: str, source: str) -> None:
    """The exceptions that the rules name are exceptions."""
    module = Module(name, source)
    assert [wrong for rule in RULES if rule is not says_what_it_is for wrong in rule(module)] == []
