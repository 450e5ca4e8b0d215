"""The JSON-LD contexts that canonical forms are made with: pinned, never fetched.

    openbadgeslib    VC 2.0, Open Badges 3.0 (3.0.1 to 3.0.3), extensions, CLR 2.0, data-integrity v2, multikey v1
    ledger           VC 1.1, ed25519-2020, jws-2020, data-integrity v1, the address of Open Badges 3.0 without a
                     revision (`ledger.authenticity.terms`)
    a directory      what whoever checks adds: an `index.json` {"<address of a context>": "<file beside it>", ...}

A context that is none of these is missing, and what needs it is not checked. What is bundled cannot be replaced:
another text under a bundled address would change what old signatures cover, so a directory with one is refused.

What this module does not do: process a context (`ledger.authenticity.rdf`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ledger.authenticity.keys import parse_json
from ledger.authenticity.model import NotChecked, shown
from ledger.authenticity.terms import unversioned_ob3, written_contexts
from ledger.errors import MalformedInput

INDEX_FILE: Final = "index.json"
#: The most contexts that a directory adds.
MAX_ADDED: Final = 100
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
#: Bundled by openbadgeslib beside the ones that its `contexts` module maps.
_CLR_CONTEXT: Final = "https://purl.imsglobal.org/spec/clr/v2p0/context-2.0.1.json"
_CLR_FILE: Final = "clr_context_2.0.1.json"
_OB3_UNVERSIONED: Final = "https://purl.imsglobal.org/spec/ob/v3p0/context.json"
_OB3_3_0_1: Final = "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.1.json"


class Contexts:
    """The contexts at hand. Those that are bundled are read when the first is needed."""

    def __init__(self, added: Mapping[str, dict[str, Any]] = MappingProxyType({})) -> None:
        self._added = dict(added)

    @cached_property
    def documents(self) -> Mapping[str, dict[str, Any]]:
        """Every context document by its address. Not to be changed."""
        return MappingProxyType({**self._added, **_bundled()})

    @cached_property
    def options(self) -> dict[str, Any]:
        """The options for pyld by which a call knows these contexts and no others, and fetches none.

        What pyld makes of a context is kept for the next call, here and not in pyld's cache for the whole process,
        where another set of contexts would find it.
        """
        from pyld.context_resolver import ContextResolver

        return {"documentLoader": self._load, "contextResolver": ContextResolver({}, self._load)}

    def _load(self, address: str, _options: Any = None) -> dict[str, Any]:
        # By its tag pyld takes a context for one that never changes.
        return {
            "contextUrl": None,
            "documentUrl": address,
            "document": self.documents[address],
            "tag": "static",
        }

    def require(self, context: Any) -> None:
        """Raises NotChecked unless the value of an `@context` is made of addresses of contexts that are at hand.

        An object would define terms that nobody has checked, and could bring in other contexts.
        """
        for item in context if isinstance(context, list) else [context]:
            if not isinstance(item, str):
                raise NotChecked("the badge defines terms of its own in its @context")
            if item not in self.documents:
                raise NotChecked(f"context {shown(item)} missing")


def bundled_contexts(directory: Path | None = None) -> Contexts:
    """The pinned contexts, and those of a directory. Raises MalformedInput for a directory that cannot be used."""
    return Contexts() if directory is None else Contexts(_read_directory(directory))


@cache
def _bundled() -> dict[str, dict[str, Any]]:
    from openbadgeslib.ob3 import contexts

    clr = json.loads(resources.files(contexts).joinpath(_CLR_FILE).read_text("utf-8"))
    library = contexts.bundled_contexts()
    # The library has its newest revision under this address, which is not what badges with it were signed with.
    unversioned = {_OB3_UNVERSIONED: unversioned_ob3(library[_OB3_3_0_1])}
    return {**library, **unversioned, _CLR_CONTEXT: clr, **written_contexts()}


def _read_directory(directory: Path) -> dict[str, dict[str, Any]]:
    index = _read(directory / INDEX_FILE, INDEX_FILE)
    if len(index) > MAX_ADDED:
        raise MalformedInput(f"{INDEX_FILE} names more than {MAX_ADDED} contexts")
    added = {}
    for address, name in index.items():
        if not isinstance(name, str) or _FILE_NAME.fullmatch(name) is None:
            raise MalformedInput(f"{INDEX_FILE} gives {shown(address)} no name of a file in the same directory")
        document = _read(directory / name, name)
        if "@context" not in document:
            raise MalformedInput(f"{name} is no JSON-LD context")
        if _bundled().get(address, document) != document:
            raise MalformedInput(f"{shown(address)} is bundled and cannot be replaced: leave it out of {INDEX_FILE}")
        added[address] = document
    return added


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        return parse_json(path.read_bytes())
    except OSError as error:
        raise MalformedInput(f"{name} in the directory of contexts cannot be read: {error.strerror}") from None
    except MalformedInput as error:
        raise MalformedInput(f"{name} in the directory of contexts: {error.detail}") from None
