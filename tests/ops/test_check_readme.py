"""The README's check notices what it is there to notice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.check_readme import Problem, Shell, broken_links, check, missing, parse_blocks, parse_commands


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.stop()


def fenced(language: str, *rows: str) -> str:
    return "\n".join(["text", "", f"```{language}", *rows, "```", ""])


def test_commands_share_folder_and_variables(shell: Shell) -> None:
    """What one block exports, and the folder that it goes to, the next block finds."""
    check(
        fenced("sh", "export GREETING=hello", "mkdir there && cd there") + fenced("sh", 'test "$GREETING" = hello'),
        shell,
    )
    assert "there" in shell.run("pwd")


@pytest.mark.parametrize("row", ["false", "no-such-command", "true | false | true"])
@pytest.mark.parametrize(("language", "prompt"), [("sh", ""), ("console", "$ ")])
def test_a_command_that_fails_is_a_problem(shell: Shell, language: str, prompt: str, row: str) -> None:
    """Also one in the middle of a pipe."""
    with pytest.raises(Problem, match="exit status"):
        check(fenced(language, "true" if not prompt else "$ true", prompt + row), shell)


def test_output_may_differ_in_numbers_and_keys_only(shell: Shell) -> None:
    """Lines shown have to come, in order; others may stand between them."""
    printed = "printf 'a 12 deadbeef01\\nmore\\nb  did:key:zAbC\\n'"
    check(fenced("console", f"$ {printed}", "a 7 0123456789abcdef", "b did:key:zXyZ"), shell)
    check(fenced("console", f"$ {printed}", "a ... 99999999", "...", "b ..."), shell)
    for shown in (["b did:key:zXyZ", "a 7 0123456789abcdef"], ["c"], ["a 7"], ["more", "more"]):
        with pytest.raises(Problem, match="should print"):
            check(fenced("console", f"$ {printed}", *shown), shell)


def test_help_is_compared_exactly_and_can_be_written(shell: Shell) -> None:
    """One line too few or too many in a quoted help text is a problem that --write mends."""
    command = "$ printf 'Commands:\\n  one  1\\n  two  2\\n' # --help"
    good = fenced("console", command, "Commands:", "  one  1", "  two  2") + fenced("console", "$ echo end", "end")
    assert check(good, shell) == good
    for rows in (
        ["Commands:", "  one  1"],
        ["Commands:", "  one  1", "  two  3"],
        ["Commands:", "", "  one  1", "  two  2"],
    ):
        bad = fenced("console", command, *rows) + fenced("console", "$ echo end", "end")
        with pytest.raises(Problem, match="out of date"):
            check(bad, shell)
        assert check(bad, shell, write=True) == good


def test_a_backslash_continues_a_command() -> None:
    """As in a shell."""
    (block,) = parse_blocks(fenced("console", "$ echo one \\", "> two", "one two"))
    (command,) = parse_commands(block)
    assert (command.text, command.shown) == ("echo one \\\ntwo", ["one two"])


@pytest.mark.parametrize("language", ["bash", "shell", ""])
def test_no_shell_hides_under_another_name(language: str) -> None:
    """A block that looks like commands and is not run would go stale."""
    with pytest.raises(Problem, match="sh or console"):
        parse_blocks(fenced(language, "rm -rf /"))


def test_an_open_block_is_a_problem() -> None:
    """It would swallow the rest of the file."""
    with pytest.raises(Problem, match="not closed"):
        parse_blocks("```sh\ntrue\n")


def test_output_without_a_command_is_a_problem() -> None:
    """A forgotten prompt must not make a command into output."""
    (block,) = parse_blocks(fenced("console", "badge-ledger --help"))
    with pytest.raises(Problem, match="begins with a command"):
        parse_commands(block)


def test_what_is_run_elsewhere_is_run_there(shell: Shell) -> None:
    """ops/demo is left out because .ci/run runs it, not because it is called that."""
    check(fenced("sh", "ops/demo    # a comment"), shell)
    with pytest.raises(Problem, match="exit status"):
        check(fenced("sh", "ops/demonstration"), shell)


def test_the_service_has_to_be_in_the_background(shell: Shell) -> None:
    """Otherwise the reader's shell would never come back."""
    with pytest.raises(Problem, match="background"):
        check(fenced("sh", "badge-ledger serve --data data"), shell)


def test_links_lead_somewhere(tmp_path: Path) -> None:
    """Relative ones are looked up, anchors cut off, others left alone."""
    (tmp_path / "there.md").touch()
    text = "[a](there.md#part) [b](https://example.org/) ![c](gone.svg) [d](#here)"
    assert broken_links(text, tmp_path) == ["gone.svg"]


def test_missing_tells_the_first_line_that_did_not_come() -> None:
    """Not a later one."""
    assert missing(["one", "two", "three"], "one\nthree\n") == "two"
