"""The documents keep up with the code: errors, metrics, fault points, commands, options, limits, links, tests named."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

import ledger.check
import ledger.client
import ledger.gather_peer
import ledger.guard  # noqa: F401 - their errors are in the tree below
from api.context import ServiceLimits
from api.routes import ROUTES
from ledger.cli.app import all_commands
from ledger.errors import _RULE_STATUS, LedgerError, RuleViolation
from ledger.faults import POINTS
from ledger.node import NodeOptions
from ops.check_readme import Shell, check

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

SLUG = re.compile(r"[a-z]+(?:-[a-z]+)*")
#: What a rule's name is handed to, and at which position.
RULE_ARGUMENTS = {"_require": 1, "_broken": 0}
LOG_METHODS = ("info", "warning", "error", "exception")


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("ledger", "api"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def text_of(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def rows(page: str) -> dict[str, list[str]]:
    """Table rows whose first cell is one `name`: name -> the other cells."""
    found = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and (match := re.fullmatch(r"`([^`]+)`", cells[0])):
            assert match[1] not in found, f"{match[1]} stands twice"
            found[match[1]] = cells[1:]
    return found


def section(page: str, heading: str) -> str:
    """From a heading of level 2 to the next."""
    _, found, rest = page.partition(f"\n## {heading}\n")
    assert found, heading
    return rest.partition("\n## ")[0]


def error_tree(kind: type[LedgerError] = LedgerError) -> Iterator[type[LedgerError]]:
    if kind.__module__.partition(".")[0] in ("ledger", "api"):
        yield kind
    for child in kind.__subclasses__():
        yield from error_tree(child)


def rules_in_code() -> set[str]:
    """Every rule that the code can name: `rule=...`, and what the helpers that raise are handed."""
    found = set(_RULE_STATUS)
    for _, tree in sources():
        for node in ast.walk(tree):
            candidates: list[str | None] = []
            if isinstance(node, ast.Call):
                candidates += [text_of(keyword.value) for keyword in node.keywords if keyword.arg == "rule"]
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                at = RULE_ARGUMENTS.get(name)
                if at is not None and len(node.args) > at:
                    candidates.append(text_of(node.args[at]))
            elif isinstance(node, ast.Assign) and [getattr(t, "id", "") for t in node.targets] == ["rule"]:
                candidates.append(text_of(node.value))
            found |= {text for text in candidates if text and SLUG.fullmatch(text)}
    return found


def slugs_in_code() -> set[str]:
    """Every `slug` that a class of the code states, so that one outside the tree is seen too."""
    found = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and getattr(statement.target, "id", "") == "slug":
                    found.add(text_of(statement.value))
                elif isinstance(statement, ast.Assign):
                    target = statement.targets[0]
                    names = target.elts if isinstance(target, ast.Tuple) else [target]
                    values = statement.value.elts if isinstance(statement.value, ast.Tuple) else [statement.value]
                    found |= {
                        text_of(value)
                        for name, value in zip(names, values, strict=False)
                        if getattr(name, "id", "") == "slug"
                    }
    return {slug for slug in found if slug}


def test_the_collectors_find_what_is_there() -> None:
    """A collector that finds nothing would let everything pass."""
    assert {"slot-issued", "foreign-issuer", "last-manage", "list-cap", "duplicate-commitment"} <= rules_in_code()
    assert {"error", "guard-ahead", "guard-conflict", "check-failed", "http"} <= slugs_in_code()


def test_every_problem_type_is_explained_with_its_statuses() -> None:
    """errors.md has a row for each slug, with the HTTP status and the exit status that the code gives it."""
    table = rows(read("errors.md"))
    for slug in slugs_in_code():
        assert slug in table, f"docs/errors.md does not explain {slug}"
    for kind in error_tree():
        if issubclass(kind, RuleViolation) or kind.slug == "http":
            continue
        assert table[kind.slug][:2] == [str(kind.status), str(kind.exit_status)], kind.slug


def test_every_rule_is_explained_with_its_status() -> None:
    """errors.md has a row for each rule that the code can name, with its HTTP status."""
    table = rows(section(read("errors.md"), "Rules"))
    assert rules_in_code() == set(table)
    for rule, cells in table.items():
        # `time` is a rule of verification only: its error is a VerificationError.
        expected = 422 if rule == "time" else RuleViolation("", rule=rule).status
        assert cells[0] == str(expected), rule


def test_every_kind_of_failure_of_the_command_line_is_explained() -> None:
    """errors.md names the types that only the command line has."""
    table = rows(read("errors.md"))
    tree = ast.parse((ROOT / "ledger" / "cli" / "app.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_fail"]
    kinds = {text for call in calls if (text := text_of(call.args[1]))}
    assert kinds
    assert kinds <= table.keys()


def test_every_metric_is_explained() -> None:
    """operations.md has a row for each metric, and none for one that there is not."""
    metrics = set()
    for folder in ("api", "ledger"):
        for path in (ROOT / folder).rglob("*.py"):
            metrics |= set(re.findall(r'"(badge_ledger_[a-z_]+)"', path.read_text(encoding="utf-8")))
    assert metrics
    table = rows(section(read("operations.md"), "Metrics"))
    assert {name for name in table if name.startswith("badge_ledger_")} == metrics


def test_every_event_of_the_log_is_explained() -> None:
    """operations.md names every event that the code logs under a name."""
    events = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in LOG_METHODS and node.args:
                text = text_of(node.args[0])
                if text and re.fullmatch(r"[a-z]+\.[a-z-]+", text):
                    events.add(text)
    assert {"serve.ready", "publisher.stopped"} <= events
    page = section(read("operations.md"), "Logs")
    assert not {event for event in events if f"`{event}`" not in page}


def test_every_fault_point_is_explained_in_order() -> None:
    """life-of-an-entry.md has a row for each fault point, in the order in which an entry meets them."""
    assert tuple(name for name in rows(read("life-of-an-entry.md")) if name in POINTS) == POINTS


def test_every_limit_is_listed_with_its_value() -> None:
    """operations.md has a row for each limit of the service and of a node, with its default."""
    table = rows(section(read("operations.md"), "Limits"))
    for kind in (ServiceLimits, NodeOptions):
        for field in msgspec.structs.fields(kind):
            if field.name == "origin":
                continue
            assert field.name in table, f"docs/operations.md does not list {field.name}"
            value = float(table[field.name][0].split()[0].replace(",", ""))
            assert value == pytest.approx(float(field.default)), field.name


def test_every_option_of_serve_is_listed() -> None:
    """operations.md names every option of `serve`."""
    page = read("operations.md")
    for parameter in all_commands()["serve"].params:
        if isinstance(parameter, click.Option):
            assert f"`{parameter.opts[0]}" in page, parameter.opts[0]


def test_every_command_is_shown_to_a_reader() -> None:
    """A tutorial or the README types each command."""
    pages = [ROOT / "README.md", *DOCS.glob("tutorial-*.md")]
    typed = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    for name, command in all_commands().items():
        if not isinstance(command, click.Group):
            assert re.search(rf"badge-ledger {name}\b", typed), name


def test_commands_that_are_typed_exist() -> None:
    """No page types a command of the program that there is not."""
    known = set(all_commands())
    for page in PAGES:
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for command, sub in re.findall(r"\bbadge-ledger ([a-z]+(?:-[a-z]+)*)(?: ([a-z]+))?", block):
                assert command in known, f"{page.name}: badge-ledger {command}"
                if any(name.startswith(f"{command} ") for name in known) and sub:
                    assert f"{command} {sub}" in known, f"{page.name}: badge-ledger {command} {sub}"


def test_paths_that_are_asked_for_are_routes() -> None:
    """What the pages fetch with curl is a route of the service."""
    patterns = [re.compile(re.sub(r"\{[a-z]+\}", "[^/]+", r.path.replace("{path}", ".+"))) for r in ROUTES]
    patterns.append(re.compile("/openapi.json"))
    for page in PAGES:
        for path in re.findall(r"\$BADGE_LEDGER_URL(/[^\s\"'?|`;]*)", page.read_text(encoding="utf-8")):
            assert any(pattern.fullmatch(path) for pattern in patterns), f"{page.name}: {path}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    found = set()
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        if not fenced and (match := re.fullmatch(r"#{1,6} (.+)", line)):
            heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match[1])
            found.add(re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file, and its anchor a heading of that file."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_tests_that_are_named_exist(page: Path) -> None:
    """A `path/to/file.py` in a page exists, and `tests/x.py::test_y` is a test of it."""
    text = page.read_text(encoding="utf-8")
    for path, name in re.findall(r"`((?:ledger|api|tests|ops)/[\w./-]+\.(?:py|sql|lock))(?:::(\w+))?`", text):
        assert (ROOT / path).is_file(), path
        if name:
            assert re.search(rf"def {name}\(", (ROOT / path).read_text(encoding="utf-8")), f"{path}::{name}"


def test_every_page_is_in_the_index() -> None:
    """docs/README.md links every page of docs/, and the decisions' own index every decision."""
    for folder in (DOCS, DOCS / "decisions"):
        index = (folder / "README.md").read_text(encoding="utf-8")
        for page in folder.glob("*.md"):
            assert page.name == "README.md" or f"]({page.name})" in index, page.name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorials use curl")
@pytest.mark.parametrize("page", sorted(DOCS.glob("tutorial-*.md")), ids=lambda page: page.name)
def test_tutorials_do_what_they_say(page: Path, tmp_path: Path) -> None:
    """Every command of a tutorial, in order, prints what stands below it."""
    shell = Shell(tmp_path)
    try:
        check(page.read_text(encoding="utf-8"), shell)
    finally:
        shell.stop()
