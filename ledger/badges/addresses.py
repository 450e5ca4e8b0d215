"""Addresses in place of badges: what is one, and what of one may be shown or stored.

Open Badges 1 and 2.0 bake the address of a hosted badge into images, and people paste it. Badgr's carries the version
that is asked for and, from its sharing dialog, the recipient's e-mail address:

    https://badges.example/public/assertions/kM5_4Hq?v=2_0&identity__email=someone%40example.org

What this does not do: fetch anything.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

#: The longest address that is taken for one, in bytes.
MAX_ADDRESS_BYTES: Final = 2_048
# Printable ASCII without what URLs may not hold: quotes, angle brackets, backslash, caret, backquote, braces, bar.
_ADDRESS: Final = re.compile(rb"https?://[!#-;=?-\[\]_a-z~]++", re.IGNORECASE)
_PERSONAL_PREFIX: Final = "identity__"
_VERSION: Final = "v"


def address(text: bytes) -> str | None:
    """`text` if it is an http or https address of at most MAX_ADDRESS_BYTES and nothing else."""
    if len(text) > MAX_ADDRESS_BYTES or _ADDRESS.fullmatch(text) is None:
        return None
    return text.decode("ascii")


def strip_personal(url: str) -> str:
    """The address without the parameters `identity__...` and `v` that Badgr writes; all else stays as it is."""
    rest, hash_sign, fragment = url.partition("#")
    path, _, query = rest.partition("?")
    kept = [parameter for parameter in query.split("&") if parameter and not _is_dropped(parameter)]
    return path + ("?" + "&".join(kept) if kept else "") + hash_sign + fragment


def _is_dropped(parameter: str) -> bool:
    name = unquote(parameter.partition("=")[0]).lower()
    return name == _VERSION or name.startswith(_PERSONAL_PREFIX)
