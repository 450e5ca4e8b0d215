"""The root command and the frame around every other: lazy imports, configuration, errors as one sentence.

`command` makes a command whose options all have a BADGE_LEDGER_<COMMAND>_<OPTION> and a BADGE_LEDGER_<OPTION> variable
and a place in the configuration file, and which takes --json and --config. A command returns its exit status, or None.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ledger.cli.output import Output, plain
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from ledger.clock import Clock

PREFIX: Final = "BADGE_LEDGER"

#: Name -> where the command is. In the order of the help text: an issuer's first day, a verifier's, an operator's.
COMMANDS: Final = {
    "keygen": "ledger.cli.keygen:keygen",
    "issuer": "ledger.cli.issuer:issuer",
    "sign": "ledger.cli.sign:sign",
    "issue": "ledger.cli.issue:issue",
    "revoke": "ledger.cli.status:revoke",
    "suspend": "ledger.cli.status:suspend",
    "reinstate": "ledger.cli.status:reinstate",
    "receipt": "ledger.cli.receipt:receipt",
    "refresh": "ledger.cli.refresh:refresh",
    "bake": "ledger.cli.bake:bake",
    "share": "ledger.cli.share:share",
    "verify": "ledger.cli.verify:verify",
    "inspect": "ledger.cli.inspect:inspect",
    "verify-list": "ledger.cli.verify_list:verify_list",
    "policy": "ledger.cli.policy:policy",
    "history": "ledger.cli.history:history",
    "log": "ledger.cli.log:log",
    "audit": "ledger.cli.audit:audit",
    "verify-evidence": "ledger.cli.audit:verify_evidence",
    "mirror": "ledger.cli.mirror:mirror",
    "serve": "ledger.cli.serve:serve",
    "witness": "ledger.cli.witness:witness",
    "check": "ledger.cli.check:check",
    "restore-tail": "ledger.cli.restore:restore_tail",
}


class Option(click.Option):
    """An option that its command's own variable sets, or else the variable of all commands that have it."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        own = f"{PREFIX}_{command_name(ctx).replace(' ', '_')}_{self.name}"
        for variable in (own, f"{PREFIX}_{self.name}"):
            value = os.environ.get(variable.upper().replace("-", "_"))
            if value:
                return value
        return None


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found


def option(*spellings: str, **attributes: Any) -> Callable[[Any], Any]:
    """`click.option` with variables and configuration."""
    attributes.setdefault("cls", Option)
    if attributes.get("default") is not None and not attributes.get("is_flag"):
        attributes.setdefault("show_default", True)
    return click.option(*spellings, **attributes)


def command(**attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """A command of this program; its function gets an `Output` first."""

    def make(function: Callable[..., Any]) -> click.Command:
        made: click.Command = click.command(**attributes)(click.pass_obj(function))
        for add in (
            option("--json", is_flag=True, expose_value=False, callback=_set_json, help="One JSON document on stdout."),
            option(
                "--config",
                type=click.Path(dir_okay=False, path_type=Path),
                is_eager=True,
                expose_value=False,
                callback=_read_config,
                help="TOML file with values for options.  [default: ./badge-ledger.toml]",
            ),
        ):
            add(made)
        return made

    return make


def command_name(ctx: click.Context) -> str:
    """ "issue", "issuer add": the path without the program's name."""
    return ctx.command_path.partition(" ")[2]


def all_commands() -> dict[str, click.Command]:
    """Every command by name; imports all of their modules."""
    return dict(_walk(root, click.Context(root), ""))


def _walk(group: click.Group, ctx: click.Context, prefix: str) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        if isinstance(found, click.Group):
            yield from _walk(found, ctx, f"{prefix}{name} ")
        if found is not None:
            yield prefix + name, found


def _set_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.find_object(Output).json = value  # type: ignore[union-attr]


def _read_config(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    from ledger.cli.config import defaults_for, find_config, load_config

    path = value or ctx.meta.get("config") or find_config()
    if path is None:
        return
    name = command_name(ctx)
    ctx.default_map = defaults_for(ctx.command, name, load_config(path), path, all_commands())


def _root_config(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.meta["config"] = value


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"badge-ledger {version('badge-ledger')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    expose_value=False,
    callback=_root_config,
    help="TOML file with values for options.",
)
def root() -> None:
    """Anchor digital badges in a transparency log, and prove offline that they were issued and not revoked.

    \b
    Try it:
      badge-ledger serve --data ./data                              # a ledger on this machine
      badge-ledger keygen acme.key                                  # an issuer's key
      badge-ledger issuer add --key acme.key --url http://127.0.0.1:8080 --data ./data
      badge-ledger issue badges/ --out receipts/ --key acme.key --url http://127.0.0.1:8080
      badge-ledger policy init http://127.0.0.1:8080 --out trust.policy
      badge-ledger verify badges/alice.json --receipt receipts/alice.receipt.json --policy trust.policy

    Options can also stand in ./badge-ledger.toml or in BADGE_LEDGER_... variables (BADGE_LEDGER_URL).
    """


def run(arguments: Sequence[str] | None = None, *, clock: Clock | None = None) -> int:
    """Run one command line; the exit status. Tests hand in a clock."""
    output = Output(clock)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show must not end the program
    try:
        result = root.main(
            args=None if arguments is None else list(arguments),
            prog_name="badge-ledger",
            standalone_mode=False,
            obj=output,
        )
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        hint = ""
        if isinstance(error, click.UsageError) and error.ctx is not None:
            hint = f" (see {error.ctx.command_path} --help)"
        return _fail(output, "usage", error.format_message().rstrip(".") + hint, 2)
    except (click.Abort, KeyboardInterrupt):
        return _fail(output, "interrupted", f"interrupted; {output.when_interrupted}", 130)
    except LedgerError as error:
        return _fail(output, error.type, error.detail, error.exit_status, error.members)
    except BrokenPipeError:
        # Whoever read our output has enough of it. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(output, "os", f"{where}{error.strerror or error}", 2)
    except Exception as error:
        if os.environ.get("BADGE_LEDGER_DEBUG"):
            raise
        text = f"this is a bug: {type(error).__name__}: {error} (BADGE_LEDGER_DEBUG=1 shows where)"
        return _fail(output, "bug", text, 2)
    return result if isinstance(result, int) else 0


def main() -> None:
    """The program `badge-ledger`."""
    sys.exit(run())


def _fail(output: Output, kind: str, text: str, status: int, members: dict[str, Any] | None = None) -> int:
    sys.stderr.write(f"badge-ledger: {plain(text)}\n")
    if output.json:
        output.document({"error": {"type": kind, "detail": text, **(members or {})}})
    return status
