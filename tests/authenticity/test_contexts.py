"""The contexts: those that are written here equal the published ones, those that are added replace nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.authenticity.contexts import bundled_contexts
from ledger.authenticity.model import NotChecked
from ledger.authenticity.rdf import to_rdf
from ledger.authenticity.terms import written_contexts
from ledger.errors import MalformedInput
from tests.authenticity.builders import CONTEXTS, SIGNER, V2, badge, find, sign

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "contexts"
V1 = "https://www.w3.org/2018/credentials/v1"
ED25519 = "https://w3id.org/security/suites/ed25519-2020/v1"
JWS = "https://w3id.org/security/suites/jws-2020/v1"
DI_V1 = "https://w3id.org/security/data-integrity/v1"
OB3 = "https://purl.imsglobal.org/spec/ob/v3p0/context.json"
WRITTEN = {
    V1: "2018-credentials-v1.jsonld",
    ED25519: "suites-ed25519-2020.jsonld",
    JWS: "suites-jws-2020.jsonld",
    DI_V1: "data-integrity-v1.jsonld",
    OB3: "ob-v3p0.json",
}
#: Beside them: what openbadgeslib bundles is the published file.
BUNDLED = {
    "https://www.w3.org/ns/credentials/v2": "credentials-v2.jsonld",
    "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.1.json": "ob-v3p0-3.0.1.json",
    "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.2.json": "ob-v3p0-3.0.2.json",
    "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json": "ob-v3p0-3.0.3.json",
    "https://purl.imsglobal.org/spec/ob/v3p0/extensions.json": "ob-v3p0-extensions.json",
    "https://purl.imsglobal.org/spec/clr/v2p0/context-2.0.1.json": "clr-v2p0-2.0.1.json",
}


def published(name: str) -> dict[str, Any]:
    """A published context file; skips where the folder is absent, and fails there under CI."""
    path = PUBLISHED / name
    if not path.exists():
        reason = "the folder shared/contexts beside the repository, with the published contexts, is absent"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def definitions(terms: dict[str, Any], prefixes: dict[str, str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Each term with its path of scopes, and what it stands for with its prefixes spelled out."""
    prefixes = prefixes | {k: v for k, v in terms.items() if isinstance(v, str) and v.endswith(("#", "/"))}

    def full(text: Any) -> Any:
        head, colon, rest = str(text).partition(":")
        return prefixes[head] + rest if colon and head in prefixes else text

    for name, value in terms.items():
        if name == "@version":
            continue
        if not isinstance(value, dict):
            yield f"{path}/{name}", full(value)
            continue
        yield f"{path}/{name}", {part: full(item) for part, item in value.items() if part != "@context"}
        if value.get("@context") is not None:
            # A type's scope starts from the outer context, without what other types' scopes add.
            yield from definitions(value["@context"], prefixes, f"{path}/{name}")


@pytest.mark.parametrize("address", WRITTEN)
def test_a_written_context_defines_the_published_terms(address: str) -> None:
    """Every term of every scope: the same IRI, type and container, and no term more."""
    ours = CONTEXTS.documents[address]["@context"]
    theirs = published(WRITTEN[address])["@context"]
    assert dict(definitions(ours, {})) == dict(definitions(theirs, {}))


@pytest.mark.parametrize("address", BUNDLED)
def test_a_bundled_context_is_the_published_file(address: str) -> None:
    """As JSON."""
    assert CONTEXTS.documents[address] == published(BUNDLED[address])


def instances(terms: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Objects that use every term: one of each type with every term of its scope, and of the scopes of those."""

    def fill(scope: dict[str, Any], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, value in scope.items():
            definition = value if isinstance(value, dict) else {"@id": value}
            iri = definition.get("@id", "")
            if name.startswith("@") or name in ("id", "type") or str(iri).endswith(("#", "/")):
                continue
            if "@context" in definition and definition.get("@type") not in ("@id", "@vocab"):
                out.setdefault("urn:types", []).append({"@type": name, **fill(definition["@context"], depth + 1)})
            elif definition.get("@type") == "@vocab":
                out[name] = [
                    *(key for key in definition["@context"] if key[0] != "@" and key not in ("id", "type", "sec"))
                ]
            elif "@context" in definition:
                out[name] = {
                    "@id": f"urn:{depth}:{name}",
                    "urn:nested": [{"@type": key} for key in definition["@context"] if key[0].isupper()],
                }
            elif definition.get("@type") == "@id":
                out[name] = {"@id": f"urn:{depth}:{name}", "urn:p": name}
            elif str(definition.get("@type", "")).endswith("dateTime"):
                out[name] = "2024-01-01T00:00:00Z"
            elif definition.get("@type") == "@json":
                out[name] = {"b": 1, "a": [True]}
            else:
                out[name] = f"value of {name}"
        return out

    yield fill(terms, 0)


@pytest.mark.parametrize("address", WRITTEN)
def test_documents_under_a_written_context_have_the_published_rdf(address: str) -> None:
    """Canonical RDF of a document with every term and every type, byte for byte."""
    from openvc.proof.contexts import document_loader, pyld_options
    from pyld import jsonld

    theirs = published(WRITTEN[address])
    texts = []
    for context in (CONTEXTS.documents[address], theirs):
        loader = document_loader({address: context})
        for instance in instances(theirs["@context"]):
            document = {"@context": address, "@id": "urn:top", **instance}
            options = pyld_options(loader, algorithm="URDNA2015", format="application/n-quads")
            texts.append(jsonld.normalize(document, options))
    assert texts[0] == texts[1]
    assert texts[0].count("\n") >= 15


def test_no_context_has_a_second_name_for_what_a_verdict_reads() -> None:
    """An expiry or a status entry under another term would be signed, and read by nobody."""
    read = {
        f"https://www.w3.org/2018/credentials#{name}": name
        for name in (
            "validFrom",
            "validUntil",
            "issuanceDate",
            "expirationDate",
            "credentialStatus",
            "credentialSubject",
            "issuer",
        )
    }
    read |= {
        f"https://www.w3.org/ns/credentials/status#{name}": name
        for name in (
            "BitstringStatusListEntry",
            "statusPurpose",
            "statusListIndex",
            "statusListCredential",
            "statusSize",
        )
    }
    read["https://w3id.org/security#expiration"] = "expires"
    found = set()
    for address, document in CONTEXTS.documents.items():
        scopes = document["@context"] if isinstance(document["@context"], list) else [document["@context"]]
        for path, value in (pair for scope in scopes for pair in definitions(scope, {})):
            iri = value.get("@id") if isinstance(value, dict) else value
            if iri in read:
                assert path.rpartition("/")[2] == read[iri], (address, path)
                found.add(iri)
    assert len(found) > 10


def directory(path: Path, index: Any, **files: Any) -> Path:
    """A directory of contexts."""
    (path / "index.json").write_text(index if isinstance(index, str) else json.dumps(index))
    for name, document in files.items():
        (path / f"{name}.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return path


ADDRESS = "https://example.com/context"
TERMS = {"@context": {"extra": "https://example.com/terms#extra"}}


def test_a_directory_adds_contexts(tmp_path: Path) -> None:
    """A badge that needs one is checked with it, and not without; a term of it is covered."""
    added = bundled_contexts(directory(tmp_path, {ADDRESS: "more.json"}, more=TERMS))
    both = {**CONTEXTS.documents, ADDRESS: TERMS}
    assert dict(added.documents) == both
    from openvc.proof.data_integrity import DataIntegrityProofSuite

    unsigned = badge(context=[*V2, ADDRESS], extra="x")
    document = DataIntegrityProofSuite().add_proof(
        unsigned, signing_key=SIGNER.openvc(), verification_method=SIGNER.method, extra_contexts=both
    )
    assert find(document, contexts=added).signature == "verified"
    assert find({**document, "extra": "y"}, contexts=added).signature == "invalid"
    assert find(document).reason == f"context `{ADDRESS}` missing"


@pytest.mark.parametrize(
    ("index", "files", "message"),
    [
        ({V2[0]: "more.json"}, {"more": TERMS}, "is bundled and cannot be replaced"),
        ({V1: "more.json"}, {"more": TERMS}, "is bundled and cannot be replaced"),
        ({ADDRESS: "../more.json"}, {}, "gives .* no name of a file"),
        ({ADDRESS: "/etc/passwd"}, {}, "gives .* no name of a file"),
        ({ADDRESS: 1}, {}, "gives .* no name of a file"),
        ({ADDRESS: "more.json"}, {}, "more.json in the directory of contexts cannot be read"),
        ({ADDRESS: "more.json"}, {"more": {}}, "more.json is no JSON-LD context"),
        ({ADDRESS: "more.json"}, {"more": "{"}, "more.json in the directory of contexts: the document's JSON"),
        ("[]", {}, "index.json in the directory of contexts"),
        ({f"{ADDRESS}{n}": "more.json" for n in range(101)}, {"more": TERMS}, "more than 100"),
    ],
)
def test_a_directory_that_cannot_be_used_is_refused(
    tmp_path: Path, index: Any, files: dict[str, Any], message: str
) -> None:
    """At once, naming the file."""
    with pytest.raises(MalformedInput, match=message):
        bundled_contexts(directory(tmp_path, index, **files))


def test_a_directory_may_repeat_what_is_bundled(tmp_path: Path) -> None:
    """The same content changes nothing."""
    index = directory(tmp_path, {V1: "one.json"}, one=written_contexts()[V1])
    assert dict(bundled_contexts(index).documents) == dict(CONTEXTS.documents)


def test_an_absent_directory_is_refused(tmp_path: Path) -> None:
    """It is not taken for an empty one."""
    with pytest.raises(MalformedInput, match="cannot be read"):
        bundled_contexts(tmp_path / "absent")


@pytest.mark.parametrize(
    "context", [{}, None, 1, [{"@import": V2[0]}], [V2[0], {"@vocab": "https://a.example/"}], [[V2[0]]]]
)
def test_contexts_other_than_addresses_are_not_checked(context: Any) -> None:
    """An object could define anything, and bring in any context."""
    with pytest.raises(NotChecked, match="terms of its own"):
        to_rdf({**badge(), "@context": context}, CONTEXTS)
    assert find(sign(badge())).signature == "verified"
