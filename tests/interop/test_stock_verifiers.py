"""Verifiers that know nothing of this ledger, with nothing but the badge in hand, against a running one.

A badge that was signed and anchored here is accepted; after `badge-ledger revoke` it is not; suspended it is not where
a verifier knows of suspension, and accepted again when it is reinstated. The verifiers, as they come:

    npm   @digitalcredentials/verifier-core      knows revocation only: it passes over the bit of a suspension
    npm   @digitalbazaar vc 7, data-integrity, eddsa-rdfc-2022-cryptosuite, vc-bitstring-status-list
    PyPI  openvc-core                            the list as JSON-LD; of JWTs it knows the VC 1.1 form only
    PyPI  openbadgeslib                          the list as JWT

The npm ones are pinned by tests/interop/npm/package-lock.json (versions and hashes) and put into the cache folder of
`tests.interop.programs` once. They read contexts from packages; the network is this machine, where the lists stand.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openbadgeslib.errors import LibOpenBadgesException
from openbadgeslib.ob3 import OB3LdpVerifier
from openbadgeslib.ob3.contexts import bundled_contexts
from openvc import verify_credential
from openvc.errors import OpenvcError
from openvc.resolvers import default_status_list_resolver

from ledger.cli.sign import EXAMPLE
from tests.interop.live import LiveLedger
from tests.interop.programs import absent, cache, free_port

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parent / "npm"
NODE_MAJOR = 20
INSTALL_S = 600

#: Whether a verifier accepts a badge, and what it said.
Verdict = tuple[bool, str]
Verifier = Callable[[str], Verdict]


class Issuer:
    """An issuer of the ledger, in a folder of its own: its key, its badge as `sign` and `issue` left it."""

    def __init__(self, ledger: LiveLedger, folder: Path) -> None:
        self._ledger = ledger
        self.folder = folder
        self.run("keygen", "acme.key")
        token = ledger.directory / "data" / "operator.token"
        self.run("issuer", "add", "--key", "acme.key", "--token-file", token, "--url", ledger.url)
        (folder / "badge.json").write_text(json.dumps(EXAMPLE))
        self.run("sign", "badge.json", "--out", "alice.json", "--key", "acme.key", "--url", ledger.url)
        self.run("issue", "alice.json", "--out", "receipts", "--key", "acme.key", "--url", ledger.url)

    def run(self, *arguments: str | Path) -> None:
        self._ledger.command(*arguments, cwd=self.folder)

    def change(self, what: str) -> None:
        """revoke, suspend or reinstate the badge."""
        self.run(what, "alice.json", "--key", "acme.key", "--url", self._ledger.url)

    @property
    def badge(self) -> str:
        return (self.folder / "alice.json").read_text()


@pytest.fixture(scope="module")
def ledger() -> Iterator[LiveLedger]:
    """A ledger whose lists stand under http://localhost, where verifiers of this machine reach them."""
    port = free_port()
    with LiveLedger("--listen", f"127.0.0.1:{port}", "--public-url", f"http://localhost:{port}") as running:
        yield running


@pytest.fixture
def issuer(ledger: LiveLedger, tmp_path: Path) -> Issuer:
    return Issuer(ledger, tmp_path)


@pytest.fixture(scope="module")
def standing(ledger: LiveLedger, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A badge that no test revokes."""
    return Issuer(ledger, tmp_path_factory.mktemp("standing")).badge


# The verifiers ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def npm() -> Path:
    """The folder with the npm packages, installed from the lock unless the cache has them."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        absent("Node.js is not installed: the commands node and npm are not in PATH")
    version = subprocess.check_output([node, "--version"], text=True, timeout=60).strip()
    if int(version.removeprefix("v").partition(".")[0]) < NODE_MAJOR:
        absent(f"Node.js {version} is too old: version {NODE_MAJOR} or later is needed")
    lock = (SOURCE / "package-lock.json").read_bytes()
    folder = cache() / f"npm-{hashlib.sha256(lock + version.encode()).hexdigest()[:16]}"
    if not (folder / "node_modules").is_dir():
        building = folder.with_name(f"{folder.name}.{os.getpid()}")
        building.mkdir(exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, building)
        # `ci` installs exactly the lock, whose hashes it checks; no package runs a script of its own.
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        ran = subprocess.run(command, cwd=building, capture_output=True, text=True, timeout=INSTALL_S)
        if ran.returncode:
            shutil.rmtree(building)
            absent(f"the npm packages cannot be had: {ran.stderr.strip()[-500:]}")
        if folder.exists():
            shutil.rmtree(building)
        else:
            building.rename(folder)
    shutil.copy(SOURCE / "verify.mjs", folder)
    return folder


def node_verifier(npm: Path, stack: str) -> Verifier:
    def verify(badge: str) -> Verdict:
        ran = subprocess.run(
            ["node", "verify.mjs", stack], cwd=npm, input=badge, capture_output=True, text=True, timeout=120
        )
        assert ran.returncode == 0, ran.stderr
        result = json.loads(ran.stdout)
        return result["accepted"], json.dumps(result["detail"])

    return verify


def fetch(url: str, accept: str) -> bytes:
    """A list of this machine: the libraries' own guards refuse addresses that are not public."""
    assert url.startswith("http://localhost:")
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 - the line above
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return bytes(response.read())


def openvc_verifier(badge: str) -> Verdict:
    contexts = bundled_contexts()
    lists = default_status_list_resolver(
        fetch=lambda url: fetch(url, "application/vc").decode(), extra_contexts=contexts
    )
    try:
        result = verify_credential(json.loads(badge), resolve_status_list=lists, extra_contexts=contexts)
    except OpenvcError as error:
        return False, str(error)
    return True, str(result.issuer)


def openbadgeslib_verifier(badge: str) -> Verdict:
    try:
        # A list whose issuer is not the badge's is refused if it is to be verified, see the last test.
        found = OB3LdpVerifier().verify(
            badge, check_status=True, verify_status_list=False, download=lambda url: fetch(url, "application/vc+jwt")
        )
    except LibOpenBadgesException as error:
        return False, str(error)
    return True, str(found.issuer.id)


@pytest.fixture(params=["verifier-core", "digitalbazaar", "openvc", "openbadgeslib"])
def verifier(request: pytest.FixtureRequest) -> Verifier:
    of_python = {"openvc": openvc_verifier, "openbadgeslib": openbadgeslib_verifier}
    name: str = request.param
    return of_python[name] if name in of_python else node_verifier(request.getfixturevalue("npm"), name)


# The claims ---------------------------------------------------------------------------------------------------------


def test_a_badge_is_accepted_until_it_is_revoked(issuer: Issuer, verifier: Verifier) -> None:
    """By what stands in the badge, and in the lists that it names."""
    accepted, said = verifier(issuer.badge)
    assert accepted, said
    issuer.change("revoke")
    accepted, said = verifier(issuer.badge)
    assert not accepted, said


def test_a_suspended_badge_is_accepted_again_when_it_is_reinstated(
    issuer: Issuer, verifier: Verifier, request: pytest.FixtureRequest
) -> None:
    """verifier-core alone reads past a suspension; that is said here, so that it is noticed when that changes."""
    issuer.change("suspend")
    accepted, said = verifier(issuer.badge)
    assert accepted == ("verifier-core" in request.node.name), said
    issuer.change("reinstate")
    accepted, said = verifier(issuer.badge)
    assert accepted, said


@pytest.mark.parametrize("path", [("name",), ("credentialStatus", 0, "statusListIndex")], ids=["name", "index"])
def test_a_changed_badge_is_refused(standing: str, verifier: Verifier, path: tuple[str | int, ...]) -> None:
    """Its place in the list is under the proof too: nobody can point it at a bit that is clear."""
    changed: Any = json.loads(standing)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = "7"
    accepted, said = verifier(json.dumps(changed))
    assert not accepted, said


def test_the_lock_names_every_package_by_its_hash() -> None:
    """And no address of any registry: which one is used is up to the machine."""
    lock = json.loads((SOURCE / "package-lock.json").read_bytes())
    packages = [package for path, package in lock["packages"].items() if path]
    assert len(packages) > 100
    assert all(package["integrity"].startswith("sha512-") for package in packages)
    assert not any("resolved" in package for package in packages)


def test_openbadgeslib_wants_the_lists_from_the_badges_issuer(standing: str) -> None:
    """The specification admits another issuer; this library's check of a list's signature does not. So it is asked
    above not to make that check; openvc makes it, of the same list."""
    with pytest.raises(LibOpenBadgesException, match="does not match the badge issuer"):
        OB3LdpVerifier().verify(standing, check_status=True, download=lambda url: fetch(url, "application/vc+jwt"))
