"""Keys and lists from the network: did:web, did:webvh, https addresses, without being steered into private networks.

    did:web:example.com:a         https://example.com/a/did.json
    did:webvh:<scid>:example.com  https://example.com/.well-known/did.jsonl, replayed from its first entry
    https://...                   an issuer's document, a CryptographicKey, a JWK or JWK Set, a badge class

A badge names these addresses, so whoever makes a badge chooses what is fetched. The guard is openvc's: https only, on
port 443 or the one named; every address that the host's name has must be a public one, and the connection goes to
the very address that was judged, so that a name cannot turn into another between the two; redirects are refused, not
followed. What it takes for public and is not is refused beside (`is_refused`). At most 1 MiB, and MAX_FETCH_S in all,
whatever the server does. Nothing of this happens unless whoever
checks allows the network, and pins are asked first.

What was fetched may be kept in a directory, a file for each address, replaced whole and used for `max_age_s`. Keys
only: a status list is always fetched anew, so its `ttl` needs no attention. Whoever may write to the directory decides
which keys count.

What this module does not do: retry, follow links from document to document, or use a proxy.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ledger.authenticity.keys import (
    KeyHolder,
    OfflineKeys,
    Pin,
    parse_json,
    read_class,
    read_did_document,
    read_holder,
)
from ledger.authenticity.model import NotChecked, shown
from ledger.errors import MalformedInput

#: What a fetch may take in all, seconds: looking the name up, connecting, waiting, reading.
MAX_FETCH_S: Final = 15
#: How long a kept document is used, seconds.
DEFAULT_MAX_AGE_S: Final = 24 * 3600
#: The most documents that are kept.
MAX_KEPT: Final = 10_000

#: Networks that Python 3.11 takes for global: 6to4 (RFC 7526), whose addresses hold an IPv4 one that may be private;
#: its relays; protocol assignments (RFC 6890; Oracle's metadata); documentation (RFC 9637); segment routing (RFC 9602);
#: the host that Azure's machines ask. NAT64, Teredo and the hosts of other clouds are not global by Python's tables.
_REFUSED: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("2002::/16", "192.88.99.0/24", "192.0.0.0/24", "3fff::/20", "5f00::/16", "168.63.129.16/32")
)

_STATUS: Final = re.compile(r"unexpected status ([0-9]{3})")

#: The body that an https address answers with status 200. Raises NotChecked, with the reason.
Fetch = Callable[[str], bytes]


def is_refused(ip_str: str) -> bool:
    """Whether nothing is fetched from an IP address: what the library forbids, and `_REFUSED`; mapped ones too."""
    from openvc.fetch import ip_is_forbidden

    parsed = ipaddress.ip_address(ip_str)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return ip_is_forbidden(str(parsed)) or any(parsed in network for network in _REFUSED)


def guarded_fetch(address: str) -> bytes:
    """At most 1 MiB from a public https address, within MAX_FETCH_S. Raises NotChecked."""
    outcome: list[bytes | BaseException] = []

    def run() -> None:
        from openvc import fetch

        # The library judges addresses by this name and takes no other rule; a second look at the host's addresses from
        # here could see others than the connection goes to. The rule only becomes stricter.
        fetch._ip_is_forbidden = is_refused
        try:
            outcome.append(fetch.https_bytes_fetch(address))
        except BaseException as error:
            outcome.append(error)

    # The library bounds each read; a server that sends its headers a byte at a time is bounded only from outside. Such
    # a thread is left behind, and ends with the process.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(MAX_FETCH_S)
    if not outcome:
        raise NotChecked(f"{shown(address)} did not answer within {MAX_FETCH_S} s")
    result = outcome[0]
    if isinstance(result, bytes):
        return result
    status = _STATUS.search(str(result))
    if status is not None:
        raise NotChecked(f"{shown(address)} answers status {status[1]}", status=int(status[1]))
    raise NotChecked(f"{shown(address)} {_why(result)}")


class KeptDocuments:
    """Fetched documents in a directory, which is made if need be: one line of JSON {"address", "at_s"}, then the body.

    A file that is damaged, of another address or too old counts as absent, and so does a directory that cannot be used.
    """

    def __init__(self, directory: Path, fetch: Fetch, *, now_s: int, max_age_s: int) -> None:
        self._directory = directory
        self._fetch = fetch
        self._now_s = now_s
        self._max_age_s = max_age_s

    def __call__(self, address: str) -> bytes:
        """The kept body, else the fetched one. Raises NotChecked; what failed is not kept."""
        path = self._directory / hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()
        kept = self._read(path, address)
        if kept is not None:
            return kept
        body = self._fetch(address)
        with suppress(OSError):
            self._write(path, address, body)
        return body

    def _read(self, path: Path, address: str) -> bytes | None:
        try:
            line, _, body = path.read_bytes().partition(b"\n")
            head = json.loads(line)
            age_s = self._now_s - head["at_s"]
            return body if head["address"] == address and 0 <= age_s <= self._max_age_s else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, path: Path, address: str, body: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sum(1 for _ in self._directory.iterdir()) >= MAX_KEPT and not path.exists():
            return
        head = json.dumps({"address": address, "at_s": self._now_s}).encode("ascii")
        descriptor, name = tempfile.mkstemp(dir=self._directory, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(head + b"\n" + body)
            # A reader sees the old file or the new one. Not synced: what a crash loses is fetched again.
            os.replace(name, path)
        except OSError:
            with suppress(OSError):
                os.unlink(name)
            raise


class OnlineKeys(OfflineKeys):
    """What is pinned or in the identifier, and what the network answers. An answer, or that there is none, is asked for
    once."""

    def __init__(self, pins: Sequence[Pin], fetch: Fetch) -> None:
        super().__init__(pins)
        self._fetch = fetch
        self._holders: dict[str, KeyHolder | NotChecked] = {}

    def _elsewhere(self, identifier: str) -> KeyHolder:
        found = self._holders.get(identifier)
        if found is None:
            try:
                found = self._look_up(identifier)
            except NotChecked as error:
                found = error
            except MalformedInput as error:
                found = NotChecked(f"no key can be read from {shown(identifier)}: {error.detail}")
            if len(self._holders) < MAX_KEPT:
                self._holders[identifier] = found
        if isinstance(found, NotChecked):
            raise NotChecked(str(found))
        return found

    def _class_elsewhere(self, address: str) -> str:
        if not address.startswith("https://"):
            raise NotChecked(f"the badge class {shown(address)} is not at an https address")
        try:
            return read_class(address, parse_json(self._fetch(address)))
        except MalformedInput as error:
            raise NotChecked(f"{shown(address)} is no badge class: {error.detail}") from None

    def _look_up(self, identifier: str) -> KeyHolder:
        if identifier.startswith(("did:web:", "did:webvh:")):
            return self._resolve(identifier)
        if not identifier.startswith("https://") or "#" in identifier:
            raise NotChecked(f"{shown(identifier)} is nothing that can be looked up")
        return read_holder(identifier, self._fetch(identifier), "network")

    def _resolve(self, did: str) -> KeyHolder:
        from openvc.did.base import DidError
        from openvc.did.did_web import DidWebResolver
        from openvc.did.did_webvh import DidWebvhResolver

        def fetch_json(address: str) -> dict[str, Any]:
            return parse_json(self._fetch(address))

        def fetch_text(address: str) -> str:
            return self._fetch(address).decode("utf-8")

        resolver = DidWebResolver(fetch_json) if did.startswith("did:web:") else DidWebvhResolver(fetch_text)
        try:
            document = resolver.resolve(did).raw
        except (DidError, UnicodeDecodeError, RecursionError):
            raise NotChecked(f"{shown(did)} cannot be resolved: its document is malformed or does not hold") from None
        return read_did_document(did, document)


def online_keys(
    pins: Sequence[Pin] = (),
    *,
    now_s: int,
    cache_dir: Path | None = None,
    max_age_s: int = DEFAULT_MAX_AGE_S,
    fetch: Fetch = guarded_fetch,
) -> OnlineKeys:
    """Keys from pins, identifiers and the network, in this order; kept in `cache_dir` if one is given."""
    if cache_dir is not None:
        fetch = KeptDocuments(cache_dir, fetch, now_s=now_s, max_age_s=max_age_s)
    return OnlineKeys(pins, fetch)


def _why(error: BaseException) -> str:
    """What went wrong in the guard, without the library's words, which quote what the server sent."""
    from openvc.fetch import UnsafeUrlError

    text = str(error)
    if isinstance(error, UnsafeUrlError):
        if "redirect" in text:
            return "answers a redirect, which is not followed"
        if "cannot resolve" in text or "did not resolve" in text:
            return "has a host that is not known"
        return "is no public https address, and is not fetched"
    return "cannot be fetched"
