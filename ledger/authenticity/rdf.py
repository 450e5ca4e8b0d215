"""The RDF that a JSON-LD document comes to: its canonical form (RDFC-1.0), and whether it says all that the JSON says.

A signature of an `rdfc` suite is over RDF, what people read is JSON. The two part where a member that no context
defines vanishes on the way (anybody could add it to a signed badge), and where one statement can be spelled in several
ways (a signed expiry under a name that nobody reads). Data Integrity section 2.4.1 therefore asks for a check of the
contexts, and `require_covered` is one: every member of the JSON is in the RDF, under the names that contexts at hand
give it; identifiers and types are absolute, so that none is left out; and what is said of the credential and of its
status entries stands in them and nowhere else. openvc has such a check too, which writes the RDF as JSON again and
compares; it is not used, since the published contexts of Open Badges and CLR do not come back as what they were (two
terms for one IRI, types for objects), so that it refuses sound badges.

Canonical forms of made-up documents can take for ever: blank nodes that look alike are told apart by trying their
permutations, and a property with n values is compared n^2 times. All of it is paid before the signature is known to
hold, so it is counted: values, nesting, comparisons, permutations. What exceeds a limit is not checked. The limits are
far above what badges need; tests show the time that the worst documents take.

What this module does not do: fetch, or check signatures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import factorial
from typing import Any, Final

from ledger.authenticity.contexts import Contexts
from ledger.authenticity.model import Invalid, NotChecked

#: JSON values in a document: members and elements, those of contexts not counted.
MAX_VALUES: Final = 10_000
#: Addresses of contexts, in the document and in the credentials inside it.
MAX_CONTEXTS: Final = 256
#: Those of one `@context`, each once: what pyld takes in any case (more, if it has met some before), and keeps the
#: results of. Every proof's options have the document's, so it bounds contexts times proofs.
MAX_CONTEXTS_IN_LIST: Final = 10
#: Levels of nesting. The processor recurses, several frames a level.
MAX_LEVELS: Final = 40
#: Comparisons of values of one property of one node with one another.
MAX_COMPARISONS: Final = 1_000_000
#: Permutations of blank nodes that look alike, each counted with the nodes that it walks through.
MAX_PERMUTATIONS: Final = 50_000

_VC_CONTEXTS: Final = ("https://www.w3.org/ns/credentials/v2", "https://www.w3.org/2018/credentials/v1")
_STATUS: Final = "https://www.w3.org/2018/credentials#credentialStatus"
#: The members of a text in a named language (VC 2.0 section 11.1), the one object with keywords that badges have.
_LITERAL: Final = frozenset({"@value", "@language", "@direction"})
#: Keywords of an expanded node that move statements away from it, or add what is no statement.
_NOT_HERE: Final = frozenset({"@included", "@reverse", "@index", "@direction"})
#: What the conversion to RDF takes for an IRI; the rest it leaves out.
_ABSOLUTE: Final = re.compile(r"(?!_:)[A-Za-z][A-Za-z0-9+.-]*:[^\s]*")

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rdf:
    """A document and what it comes to. expanded: JSON-LD's expanded form. canonical: its N-Quads, UTF-8."""

    document: Document
    expanded: list[Any]
    canonical: bytes


def to_rdf(document: Document, contexts: Contexts, most: int = MAX_VALUES) -> Rdf:
    """The RDF of a document of at most `most` values. The document is not changed.

    Raises NotChecked for one that is too much or needs a context that is missing, Invalid for one that is no JSON-LD.
    """
    _require_bounded(document, contexts, most)
    from pyld import jsonld

    try:
        expanded = jsonld.expand(document, contexts.options)
        if _comparisons(expanded) > MAX_COMPARISONS:
            raise NotChecked("the badge has a property with more values than are checked")
        dataset = jsonld.to_rdf(expanded, contexts.options)
        return Rdf(document, expanded, _canonicalize(dataset).encode("utf-8"))
    except NotChecked:
        raise
    except RecursionError:
        raise NotChecked("the badge is nested more deeply than is checked") from None
    except Exception:
        # Whatever the library raises on a hostile document; its messages quote the document.
        raise Invalid("the badge is not well-formed JSON-LD") from None


def require_covered(rdf: Rdf) -> None:
    """Raises Invalid for a document that says what its RDF does not, NotChecked for one in an unusual spelling.

    To be called when the signature over its RDF has been found to hold.
    """
    context = rdf.document.get("@context")
    first = context[0] if isinstance(context, list) and context else context
    if first not in _VC_CONTEXTS:
        raise NotChecked("the badge's first context is not that of verifiable credentials")
    members = _members(rdf.document)
    properties = 0
    for item in _objects(rdf.expanded):
        _require_absolute(item)
        properties += sum(not name.startswith("@") for name in item)
    if len(rdf.expanded) != 1 or members != properties:
        raise Invalid("the badge has a member that its signature does not cover")
    _require_in_place(rdf.expanded[0])


def _require_bounded(document: Document, contexts: Contexts, most: int) -> None:
    values = addresses = 0
    work: list[tuple[Any, int]] = [(document, 1)]
    while work:
        item, level = work.pop()
        if not isinstance(item, dict | list):
            continue
        values += len(item)
        if values > most:
            raise NotChecked(f"the badge or its proof has more than {most} values")
        if level > MAX_LEVELS:
            raise NotChecked(f"the badge is nested more deeply than {MAX_LEVELS} levels")
        if isinstance(item, dict):
            if "@context" in item:
                context = item["@context"]
                listed = context if isinstance(context, list) else [context]
                if len(listed) > MAX_CONTEXTS_IN_LIST:
                    raise NotChecked(f"the badge has more than {MAX_CONTEXTS_IN_LIST} contexts in a list")
                addresses += len(listed)
                if addresses > MAX_CONTEXTS:
                    raise NotChecked(f"the badge names contexts more than {MAX_CONTEXTS} times")
                contexts.require(context)
                if len(set(listed)) < len(listed):
                    raise NotChecked("the badge names a context twice in a list")
            work += [(value, level + 1) for name, value in item.items() if name != "@context"]
        else:
            work += [(value, level + 1) for value in item]


def _members(document: Document) -> int:
    """How many members the RDF has to have: those of every object, but for null, `id`, `type` and `@context`.

    Raises NotChecked for spellings that a reader of the JSON would not understand: a name that is an address or a
    keyword, a type that is an address, an array in an array, a blank node with a name.
    """
    count = 0
    for item in _objects(document):
        for name, value in item.items():
            if name == "@context" or (name in _LITERAL and {"@value", "@language"} <= item.keys()):
                continue
            if name.startswith("@") or ":" in name:
                raise NotChecked("the badge has a member that is named by an address or a keyword")
            if isinstance(value, list) and any(isinstance(element, list) for element in value):
                raise NotChecked("the badge has an array directly in an array")
            if name == "id" and isinstance(value, str) and value.startswith("_:"):
                raise NotChecked("the badge names a blank node")
            if name == "type" and any(":" in kind for kind in _texts(value)):
                raise NotChecked("the badge has a type that is written as an address")
            count += name not in ("id", "type") and value is not None
    return count


def _require_absolute(node: Document) -> None:
    """Raises Invalid for an expanded object with something in it that is no part of the RDF."""
    if "@value" in node:
        if "@index" in node or "@direction" in node:
            raise Invalid("the badge has a text with a direction or an index, which its signature does not cover")
        # A reader of the JSON tells true from "true", the RDF does not.
        if isinstance(node["@value"], str) and str(node.get("@type")).endswith("XMLSchema#boolean"):
            raise Invalid("the badge has a text where its signature covers true or false")
        if any(_ABSOLUTE.fullmatch(kind) is None for kind in _texts(node.get("@type")) if kind != "@json"):
            raise Invalid("the badge has a value of a type that its signature does not cover")
        return
    if node.keys() & _NOT_HERE:
        raise NotChecked("the badge uses a keyword of JSON-LD that is not checked")
    names = [name for name in node if not name.startswith("@")]
    for iri in (*names, *_texts(node.get("@id")), *_texts(node.get("@type"))):
        if _ABSOLUTE.fullmatch(iri) is None:
            raise Invalid("the badge has an identifier or a type that its signature does not cover")


def _require_in_place(node: Document) -> None:
    """Raises NotChecked if the credential, or a status entry of it, is described elsewhere in the badge, too.

    RDF has one node for one identifier, whichever object describes it: an expiry or a status entry could be moved out
    of sight without a change to what is signed.
    """
    entries = [entry for entry in node.get(_STATUS, []) if isinstance(entry, dict)]
    own = {identifier for item in (node, *entries) for identifier in _texts(item.get("@id"))}
    in_place = {id(node), *map(id, entries)}
    for item in _objects(node):
        described = item.keys() - {"@id"}
        if id(item) not in in_place and described and own.intersection(_texts(item.get("@id"))):
            raise NotChecked("the badge describes itself or its status entry in two places")


def _comparisons(expanded: Any) -> int:
    """How often pyld compares two values when it collects the properties of each node, at most."""
    counts: dict[tuple[str, str], int] = {}
    for place, node in enumerate(_objects(expanded)):
        identifier = node.get("@id")
        # Nodes of one identifier are one node; a node without one is a node of its own.
        owner = identifier if isinstance(identifier, str) else f"\n{place}"
        for name, value in node.items():
            if isinstance(value, list):
                counts[owner, name] = counts.get((owner, name), 0) + len(value)
    return sum(count * count for count in counts.values()) // 2


def _objects(value: Any) -> Iterator[Document]:
    """Every object in a value, without the contexts in it."""
    work = [value]
    while work:
        item = work.pop()
        if isinstance(item, list):
            work += item
        elif isinstance(item, dict):
            yield item
            work += [member for name, member in item.items() if name != "@context"]


def _texts(value: Any) -> list[str]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def _canonicalize(dataset: Any) -> str:
    from pyld.canon import URDNA2015

    class Counted(URDNA2015):  # type: ignore[misc]  # pyld has no types
        """RDFC-1.0 that counts the permutations it is about to try, before it tries them (4.8.3, step 5.4)."""

        left = MAX_PERMUTATIONS

        def create_hash_to_related(self, id_: str, issuer: Any) -> Any:
            related = super().create_hash_to_related(id_, issuer)
            # Each permutation copies the issuer, which grows with the nodes that have been walked through.
            cost = 1 + len(issuer.order) // 8
            for group in related.values():
                # 10! is beyond the limit, and the factorial of a large number a large number.
                self.left -= cost * factorial(min(len(group), 10))
            if self.left < 0:
                raise NotChecked("the badge has more nodes that look alike than are told apart")
            return related

    text: str = Counted().main(dataset, {"format": "application/n-quads"})
    return text
