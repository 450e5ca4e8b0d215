"""docs/witness.md keeps up with the code: its commands, options, statuses and fault points."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click
import pytest

from ledger.cli.app import all_commands
from ledger.faults import WITNESS_POINTS
from ops.check_readme import Shell, check

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "witness.md"


def text() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")
def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    """Every command, in order, prints what stands below it."""
    shell = Shell(tmp_path)
    try:
        check(text(), shell)
    finally:
        shell.stop()


def test_every_option_is_listed() -> None:
    """Of `witness`."""
    for parameter in all_commands()["witness"].params:
        if isinstance(parameter, click.Option):
            assert f"`{parameter.opts[0]}`" in text(), parameter.opts[0]


def test_every_fault_point_is_listed_in_order() -> None:
    """And none that there is not."""
    assert tuple(re.findall(r"^\| `(witness\.[a-z-]+)`", text(), re.MULTILINE)) == WITNESS_POINTS
