"""`badge-ledger share`: the address of a badge's public page, and the link that adds it to a LinkedIn profile.

    https://www.linkedin.com/profile/add?startTask=CERTIFICATION_NAME
        &name=  &organizationId= | organizationName=  &issueYear=  &issueMonth=  &expirationYear=  &expirationMonth=
        &certUrl=  &certId=

Months are 1 to 12; what is not known is left out. The link says nothing of the recipient: name and dates are the
achievement's, certUrl is the public page, certId the commitment, by which that page and the badge are told to belong
together. An id of the badge would not do: hosted ones hold e-mail addresses.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

import click

from ledger.cli.app import command, option
from ledger.cli.options import url_option
from ledger.cli.output import Output
from ledger.errors import InputError

if TYPE_CHECKING:
    from ledger.badges import Badge

ADD_TO_PROFILE: Final = "https://www.linkedin.com/profile/add"


@command(short_help="Show a badge's public page, and the link for LinkedIn.")
@click.argument("badge", type=click.Path(path_type=Path))
@url_option
@option("--organization-id", type=click.IntRange(1), metavar="NUMBER", help="The issuer's number at LinkedIn.")
@option("--organization-name", metavar="NAME", help="The issuer's name, without a number.  [default: the badge's]")
@option("--name", metavar="NAME", help="What the badge is called.  [default: its achievement's name]")
@option("--receipt", "receipt_path", type=click.Path(path_type=Path), help="Its receipt.  [default: beside the badge]")
@option("--key", type=click.Path(dir_okay=False, path_type=Path), help="The issuer's key, to find its salt key.")
@option("--salt-key", type=click.Path(dir_okay=False, path_type=Path), help="Show it as salted with this key.")
def share(output: Output, badge: Path, url: str, **options: Any) -> None:
    """Print the address of the public page of BADGE, and the link by which its holder adds it to a LinkedIn profile.

    Nothing is sent anywhere. --url is the ledger as everybody reaches it. The page is there once the badge is issued,
    and shows what the ledger knows: a hash, when it was issued, by whom, and its status.

    \b
    Example:
      badge-ledger share alice.json --organization-id 1337 --url https://ledger.example/
    """
    from ledger.cli.files import read_badge

    if options["organization_id"] is not None and options["organization_name"] is not None:
        raise InputError("--organization-id and --organization-name are two answers to one question: give one of them")
    host = _host(url)
    read = read_badge(badge)
    commitment = _commitment(badge, read, options).hex()
    page = f"{url.rstrip('/')}/b/{commitment}"
    organization = options["organization_name"]
    if organization is None and options["organization_id"] is None:
        organization = _issuer_name(read.document)
    name = options["name"] or read.name
    link = add_to_profile(
        read,
        page,
        commitment,
        name=name,
        organization_id=options["organization_id"],
        organization_name=organization,
    )
    if not name:
        output.note("the link names no certification, because the badge carries no name of what it is for: --name does")
    if output.json:
        output.document({"badge": str(badge), "commitment": commitment, "page": page, "linkedin": link})
        return
    output.fields([("page", page), ("linkedin", link)])
    if host in ("localhost", "127.0.0.1", "::1"):
        output.note("this address leads nowhere but to this machine: give --url as others reach the ledger")


def add_to_profile(
    badge: Badge,
    page: str,
    commitment: str,
    *,
    name: str | None,
    organization_id: int | None,
    organization_name: str | None,
) -> str:
    """The link for a badge whose public page is `page`, called `name`. Dates are in UTC."""
    fields: dict[str, Any] = {
        "startTask": "CERTIFICATION_NAME",
        "name": name,
        "organizationId": organization_id,
        "organizationName": organization_name,
    }
    for what, ms in (("issue", badge.valid_from), ("expiration", badge.valid_until)):
        if ms is not None:
            with suppress(ValueError, OverflowError):  # by its own zone in the years 1 to 9999, by UTC not
                moment = datetime.fromtimestamp(ms // 1000, UTC)
                fields |= {f"{what}Year": moment.year, f"{what}Month": moment.month}
    fields |= {"certUrl": page, "certId": commitment}
    known = {name: str(value) for name, value in fields.items() if value not in (None, "")}
    return f"{ADD_TO_PROFILE}?{urlencode(known, quote_via=quote, safe='')}"


def _host(url: str) -> str:
    """The host of the address that everybody will see. Raises InputError, which does not repeat a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise InputError("--url: is no address of a ledger, such as https://ledger.example/")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise InputError("--url: the address of a public page holds no user, no query and no fragment")
    return parts.hostname


def _commitment(path: Path, badge: Badge, options: dict[str, Any]) -> bytes:
    """The badge's commitment: with the salt of its receipt, named, or of --salt-key; else with that of the receipt that
    is baked in or beside it, or of the default salt key where it needs one."""
    from ledger import badges
    from ledger.cli.files import is_for, read_receipt
    from ledger.cli.identity import load_salt, salt_key_path
    from ledger.cli.targets import commitment_of

    given: Path | None = options["receipt_path"]
    if given is not None:
        receipt = read_receipt(given)
        if not is_for(receipt, badge):
            raise InputError(f"{given}: is the receipt of another badge than {path}")
        return receipt.issue_entry().commitment
    if options["salt_key"] is not None:
        # Named, it is how the badge was issued, also where it needed no salt.
        return badges.commitment(badge, badges.derive_salt(load_salt(options["salt_key"]), badge))
    default = salt_key_path(options["key"]) if options["key"] else None
    return commitment_of(path, default if default is not None and default.exists() else None)


def _issuer_name(document: dict[str, Any]) -> str | None:
    """The issuer's name as the badge gives it, in Open Badges 3.0 (perhaps under `vc`) or 2.0."""
    for holder in (document, document.get("vc"), document.get("badge")):
        issuer = holder.get("issuer") if isinstance(holder, dict) else None
        name = issuer.get("name") if isinstance(issuer, dict) else None
        if isinstance(name, str) and name:
            return name
    return None
