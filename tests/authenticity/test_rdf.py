"""Documents made to take for ever end quickly, and badges as large as there are do not end there."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ledger.authenticity.contexts import Contexts
from ledger.authenticity.model import NotChecked
from ledger.authenticity.rdf import MAX_LEVELS, MAX_VALUES, to_rdf
from tests.authenticity.builders import CONTEXTS, OTHER, SIGNER, V2, Json, badge, changed, find, sign, sign_options

#: Processor seconds that one hostile document may take here. Measured: 1.5 on two idle cores, 4 on busy ones.
MAX_CPU_S = 8


def graph(edges: dict[int, list[int]]) -> Json:
    """A badge with evidence that points at evidence, all of it alike."""
    node = {"type": ["VerifiableCredential"]}
    return badge(
        evidence=[{"id": f"_:b{n}", **node, "evidence": [{"id": f"_:b{m}"} for m in to]} for n, to in edges.items()]
    )


def tree(depth: int) -> Json:
    if depth == 0:
        return {"type": ["Evidence"]}
    return {"type": ["VerifiableCredential"], "evidence": [tree(depth - 1) for _ in range(3)]}


def nested(levels: int) -> Json:
    inner: Json = {"type": ["Evidence"]}
    for _ in range(levels):
        inner = {"type": ["VerifiableCredential"], "evidence": inner}
    return badge(evidence=inner)


HOSTILE = {
    "clique of 8": graph({n: [m for m in range(8) if m != n] for n in range(8)}),
    "clique of 20": graph({n: [m for m in range(20) if m != n] for n in range(20)}),
    "ring of 500": graph({n: [(n + 1) % 500] for n in range(500)}),
    "circulant of 80": graph({n: [(n + k) % 80 for k in (1, 2, 3)] for n in range(80)}),
    "circulant of 160": graph({n: [(n + k) % 160 for k in (1, 2, 3)] for n in range(160)}),
    "tree of threes": badge(evidence=tree(5)),
    "values of one property": badge(evidence=[f"urn:{n}" for n in range(8000)]),
    "values over one node": badge(evidence=[{"id": "urn:x", "name": f"n{n}"} for n in range(2400)]),
    "too many values": badge(evidence=[{"id": f"urn:{n}", "name": "x"} for n in range(MAX_VALUES)]),
    "too deep": nested(MAX_LEVELS),
    "400 deep": nested(400),
    "contexts without end": badge(context=V2 * 200),
    "contexts in every object": badge(evidence=[{"@context": V2, "id": f"urn:{n}"} for n in range(200)]),
}


@pytest.mark.parametrize("name", ["repeated", "alternating", "too many in a list"])
def test_a_long_list_of_contexts_is_given_up(name: str) -> None:
    """Before one of them is processed: 22 kB of one address and 16 proofs took 20 s."""
    terms = [(f"https://example.com/contexts/{n}", {"@context": {f"t{n}": "https://example.com/t"}}) for n in range(10)]
    many, contexts = [address for address, _ in terms], Contexts(dict(terms))
    addresses = {
        "repeated": [V2[0], *[V2[1]] * 9],
        "alternating": [V2[0], *many[:4]] * 2,
        "too many in a list": [V2[0], *many],
    }[name]
    document = {**badge(context=addresses), "proof": [sign(badge())["proof"]] * 16}
    found = find(document, contexts=contexts)
    reason = "more than 10 contexts in a list" if name == "too many in a list" else "a context twice in a list"
    assert found.signature == "not-checked"
    assert reason in str(found.reason)


def test_ten_contexts_and_sixteen_proofs_end_in_time() -> None:
    """The most of both, every proof sound, so that none is left out."""
    terms = {f"t{n}": f"https://example.com/t{n}" for n in range(1000)}
    added = {f"https://example.com/contexts/{n}": {"@context": terms} for n in range(8)}
    made = badge(context=[*V2, *added])
    options = {
        "@context": made["@context"],
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-rdfc-2022",
        "verificationMethod": SIGNER.method,
        "proofPurpose": "assertionMethod",
    }
    proof = sign_options(made, options, contexts=added)
    began = time.process_time()
    found = find({**made, "proof": [proof] * 16}, contexts=Contexts(added))
    assert found.signature == "verified"
    assert time.process_time() - began < MAX_CPU_S


def test_what_follows_an_invalid_proof_is_not_looked_at() -> None:
    """The word is the same; a finding names the proofs up to it."""
    sound, unknown = sign(badge())["proof"], {"type": "X"}
    broken = changed(sound, "proofValue", to="z" + sound["proofValue"][:0:-1])
    found = find({**badge(), "proof": [sound, broken, unknown]})
    assert (found.signature, found.scheme) == ("invalid", "eddsa-rdfc-2022")
    assert not any("not-checked" in note for note in found.notes)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_given_up(name: str) -> None:
    """Not checked, with a reason, in bounded time; and so is a proof that would need its canonical form."""
    began = time.process_time()
    proof = sign(badge())["proof"]
    found = find({**HOSTILE[name], "proof": [proof] * 3})
    assert found.signature == "not-checked"
    assert found.reason is not None
    assert time.process_time() - began < MAX_CPU_S


def test_the_largest_document_ends_in_time() -> None:
    """Every node of a type with a scope of its own, the costliest shape that is within the limits."""
    flood = badge(evidence=[{"id": f"urn:{n}", "type": ["Profile"], "name": f"n{n}"} for n in range(1400)])
    began = time.process_time()
    to_rdf(flood, CONTEXTS)
    assert time.process_time() - began < MAX_CPU_S


def test_hostile_options_of_a_proof_are_given_up() -> None:
    """They are canonicalized too, once for each proof."""
    document = sign(badge())
    big = changed(document, "proof", "nonce", to=[f"n{n}" for n in range(100)])
    found = find(big)
    assert (found.signature, found.reason) == ("not-checked", "the badge or its proof has more than 64 values")


def test_the_count_of_permutations_is_what_stops_it() -> None:
    """If pyld no longer called the method that counts, this document would take minutes."""
    with pytest.raises(NotChecked, match="look alike"):
        to_rdf(HOSTILE["clique of 8"], CONTEXTS)


def test_alike_nodes_of_real_badges_are_told_apart() -> None:
    """Results and alignments without ids, the same many times."""
    subject = badge()["credentialSubject"]
    results = [{"type": ["Result"], "status": "Completed"}] * 60
    document = sign(badge(credentialSubject={**subject, "result": results}))
    assert find(document).signature == "verified"


def transcript(number: int) -> Json:
    """A CLR with so many signed badges in it."""
    inner = [sign({**badge(), "id": f"urn:badge:{n}"}) for n in range(number)]
    context = [V2[0], "https://purl.imsglobal.org/spec/clr/v2p0/context-2.0.1.json", V2[1]]
    document = {
        "@context": context,
        "id": "urn:clr",
        "type": ["VerifiableCredential", "ClrCredential"],
        "issuer": SIGNER.did,
        "validFrom": "2024-01-01T00:00:00Z",
        "credentialSubject": {"id": "did:example:a", "type": ["ClrSubject"], "verifiableCredential": inner},
    }
    # Not by openvc, which refuses to sign under the published CLR context.
    options = {
        "@context": context,
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-rdfc-2022",
        "verificationMethod": SIGNER.method,
        "proofPurpose": "assertionMethod",
    }
    return {**document, "proof": sign_options(document, options)}


def test_a_transcript_with_badges_in_it() -> None:
    """Badges with contexts and proofs of their own: verified as a whole, and every part of them is covered."""
    document = transcript(3)
    assert find(document).signature == "verified"
    inner: tuple[Any, ...] = ("credentialSubject", "verifiableCredential", 1)
    assert find(changed(document, *inner, "name", to="Another")).signature == "invalid"
    assert find(changed(document, *inner, "undefined", to="x")).signature == "invalid"
    assert find(changed(document, *inner, "proof", to=sign(badge(), signer=OTHER)["proof"])).signature == "invalid"
    assert find(changed(document, "credentialSubject", "undefined", to=sign(badge()))).signature == "invalid"
