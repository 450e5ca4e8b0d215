"""The configuration file: every option of every command, in TOML.

    url = "https://ledger.example/"       # an option of every command that has it
    policy = "trust.policy"               # paths are relative to this file
    [issue]                               # an option of one command
    key = "acme.key"
    ["issuer add"]
    roles = "issue,status,manage"

Read from --config FILE or BADGE_LEDGER_CONFIG; else ./badge-ledger.toml, else ~/.config/badge-ledger/config.toml
($XDG_CONFIG_HOME), if there is one. The command line wins over BADGE_LEDGER_* variables, and those over this file. A
name that no command knows is an error: a misspelt option must not be a silent default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from ledger.cli.files import read_bounded
from ledger.errors import InputError

MAX_CONFIG_BYTES: Final = 1 << 20


def find_config() -> Path | None:
    """The configuration file that is used when none is named."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    candidates = (Path("badge-ledger.toml"), home / "badge-ledger" / "config.toml")
    return next((path for path in candidates if path.is_file()), None)


def load_config(path: Path) -> dict[str, Any]:
    """The file's tables. Raises InputError."""
    data = read_bounded(path, MAX_CONFIG_BYTES)
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from error
    except RecursionError:
        raise InputError(f"{path}: not a TOML file of options: it is nested too deep") from None


def defaults_for(
    command: click.Command, name: str, config: dict[str, Any], path: Path, commands: dict[str, click.Command]
) -> dict[str, Any]:
    """The file's values for one command's options, by parameter name. `name` is "issue", "issuer add"; `commands` are
    all of them, by name. Raises InputError for an option or a command that does not exist."""
    known = {option for each in commands.values() for option, _ in _options(each)}
    general: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key, value in _flatten(config, commands):
        if isinstance(value, dict):
            if key not in commands:
                raise InputError(f"{path}: there is no command {key!r}")
            if key == name:
                own = {inner.replace("_", "-"): v for inner, v in value.items()}
        elif key.replace("_", "-") not in known:
            raise InputError(f"{path}: no command has an option {key!r}")
        else:
            general[key.replace("_", "-")] = value
    options = dict(_options(command))
    for key in own:
        if key not in options:
            raise InputError(f"{path}: {name} has no option {key!r}")
    chosen = {key: value for key, value in general.items() if key in options} | own
    return {str(options[key].name): _value(options[key], value, path) for key, value in chosen.items()}


def _flatten(config: dict[str, Any], commands: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The file's items, with [issuer.add] spelt as ["issuer add"]."""
    groups = {name.split(" ")[0] for name in commands if " " in name}
    for key, value in config.items():
        if isinstance(value, dict) and key in groups:
            inner = {k: v for k, v in value.items() if not isinstance(v, dict)}
            if inner:
                yield key, inner
            for name, table in value.items():
                if isinstance(table, dict):
                    yield f"{key} {name}", table
        else:
            yield key, value


def _options(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    """The options by their long spelling without dashes."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name != "config":
            for spelling in parameter.opts:
                if spelling.startswith("--"):
                    yield spelling[2:], parameter


def _value(option: click.Option, value: Any, path: Path) -> Any:
    if isinstance(value, list):
        if not option.multiple:
            raise InputError(f"{path}: {option.opts[0]} takes one value, not a list of them")
        return [_value(option, item, path) for item in value]
    if isinstance(value, dict):
        raise InputError(f"{path}: the value of {option.opts[0]} is a table")
    if "\0" in str(value):
        raise InputError(f"{path}: the value of {option.opts[0]} holds a zero byte")
    if isinstance(option.type, click.Path) and isinstance(value, str):
        try:
            return str(path.parent / Path(value).expanduser())
        except RuntimeError:
            raise InputError(f"{path}: {option.opts[0]} names the home of a user who does not exist") from None
    # Everything else goes through the option's own reader, as if it had been typed.
    return value if isinstance(value, bool) else str(value)
