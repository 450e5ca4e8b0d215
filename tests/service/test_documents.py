"""What the service says of itself: `/openapi.json`, `/metrics`, and a log that names nobody."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.routes import ROUTES
from ledger.block import Block
from ledger.guard import SqliteGuard
from ledger.note import parse_vkey
from ledger.store import EmbeddedPostgres, Store
from tests.service.harness import (
    ORIGIN,
    Client,
    Party,
    Process,
    Recorder,
    Service,
    check_log,
    json_document,
    unique,
    until,
)

SCHEMA_WORDS = {
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "default",
    "description",
    "discriminator",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "prefixItems",
    "properties",
    "required",
    "title",
    "type",
}


def walk(node: Any) -> Iterator[Any]:
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def resolve(document: dict[str, Any], ref: str) -> Any:
    assert ref.startswith("#/"), ref
    found: Any = document
    for part in ref[2:].split("/"):
        found = found[part]
    return found


def check_schema(document: dict[str, Any], schema: dict[str, Any]) -> None:
    """A schema of JSON Schema 2020-12 in the words that msgspec writes, with patterns that compile."""
    assert schema.keys() <= SCHEMA_WORDS, schema.keys() - SCHEMA_WORDS
    if "$ref" in schema:
        assert isinstance(resolve(document, schema["$ref"]), dict)
    if "pattern" in schema:
        re.compile(schema["pattern"])
    for child in (*schema.get("properties", {}).values(), *schema.get("anyOf", ())):
        check_schema(document, child)
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            check_schema(document, schema[word])
    assert set(schema.get("required", ())) <= schema.get("properties", {}).keys()


async def test_the_openapi_document_is_one(client: Client) -> None:
    """OpenAPI 3.1 by its structure: operations with unique ids, parameters that stand in their paths, bodies and
    answers with schemas, references that resolve, and every route of the router in it."""
    document = await client.get_json("/openapi.json")
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= document["info"].keys()
    served = {(route.method.lower(), route.path) for route in ROUTES}
    described = {(method, path) for path, item in document["paths"].items() for method in item}
    assert described == served
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    for path, item in document["paths"].items():
        for operation in item.values():
            check_operation(document, path, operation)
    for schema in document["components"]["schemas"].values():
        check_schema(document, schema)
    refs = [node["$ref"] for node in walk(document) if isinstance(node, dict) and "$ref" in node]
    assert refs
    for ref in refs:
        resolve(document, ref)


def check_operation(document: dict[str, Any], path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    names = [(p["in"], p["name"]) for p in operation["parameters"]]
    assert len(set(names)) == len(names)
    for parameter in operation["parameters"]:
        assert parameter["in"] in ("path", "query")
        assert parameter["required"] is True or parameter["in"] == "query"
        check_schema(document, parameter["schema"])
    for status, response in operation["responses"].items():
        assert re.fullmatch(r"[2345]\d\d", status)
        assert response["description"]
        if status == "304":
            assert "content" not in response
            continue
        for media, content in response["content"].items():
            assert re.fullmatch(r"[a-z]+/[a-z0-9.+-]+", media)
            if "schema" in content:
                check_schema(document, content["schema"])
        if status[0] in "45":
            is_page = path.startswith("/b/") and status == "404"
            assert list(response["content"]) == ["text/html" if is_page else "application/problem+json"]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        check_schema(document, content["schema"])
    for requirement in operation.get("security", ()):
        assert requirement.keys() <= document["components"]["securitySchemes"].keys()


async def test_requests_that_the_document_admits_are_taken(client: Client, party: Party) -> None:
    """The schemas that validate are those that are shown: a body's properties are the submission's."""
    document = await client.get_json("/openapi.json")
    content = document["paths"]["/v1/submissions"]["post"]["requestBody"]["content"]
    schema = resolve(document, content["application/json"]["schema"]["$ref"])
    assert schema["properties"].keys() == json_document(party.issues(1)).keys()
    assert "application/vnd.badge-ledger.submission" in content


METRICS = {
    "badge_ledger_http_requests": {"route", "status"},
    "badge_ledger_submissions": {"outcome"},
    "badge_ledger_events": set(),
    "badge_ledger_submission_seconds": set(),
    "badge_ledger_receipts": set(),
    "badge_ledger_tree_size": {"state"},
    "badge_ledger_head_age_seconds": set(),
    "badge_ledger_badges": {"state"},
    "badge_ledger_publisher": set(),
    "badge_ledger_stopped": set(),
    "badge_ledger_lookup_recent_entries": set(),
    "badge_ledger_quorum_waiting_seconds": set(),
    "badge_ledger_witness_failures": {"witness"},
    "badge_ledger_witness_lag": {"witness"},
}


async def test_metrics_have_their_names_and_tell_nothing_private(
    service: Service, client: Client, party: Party
) -> None:
    """Dashboards hang on these names; labels are routes, statuses and states, never an identifier or a commitment."""
    commitment, slot = unique(), party.slot()
    answer = await client.submit(party.block([party.issue(slot, commitment), party.issue()]))
    await client.submit(party.block([party.suspend(slot)]))
    await client.get(f"/v1/badges/{commitment.hex()}")
    await client.get(f"/v1/receipts/{answer['first_index'] + 1}")
    await client.get("/nowhere/at/all")
    await client.send(party.block([party.suspend(slot)]))
    exposition = await client.get("/metrics")
    assert exposition.headers["Content-Type"].startswith("text/plain; version=")
    text = exposition.body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families.keys() == METRICS.keys()
    for name, family in families.items():
        assert family.documentation
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels <= METRICS[name], name
    values = {(s.name, *s.labels.values()): s.value for family in families.values() for s in family.samples}
    assert values["badge_ledger_badges", "issued"] == 2
    assert values["badge_ledger_badges", "suspended"] == 1
    assert values["badge_ledger_events_total",] == 3
    assert values["badge_ledger_submissions_total", "logged"] == 2
    assert values["badge_ledger_submissions_total", "refused"] == 1
    assert values["badge_ledger_publisher",] == 1
    assert values["badge_ledger_stopped",] == 0
    assert values["badge_ledger_tree_size", "published"] == await client.head_size()
    assert values["badge_ledger_http_requests_total", "/v1/badges/{commitment}", "200"] == 1
    assert values["badge_ledger_http_requests_total", "unknown", "404"] == 1
    for private in (commitment.hex(), party.issuer.hex(), party.identifier, "127.0.0.1"):
        assert private not in text


@pytest.mark.slow
async def test_a_real_process_serves_stops_and_logs_no_name(service_dir: Path, tmp_path: Path) -> None:
    """From an empty directory: ready, everything asked once, refused once, stopped by SIGTERM, started again. Its log
    is JSON and holds no identifier, commitment, key, token or caller's address."""
    recorder = Recorder()
    process = Process(service_dir / "process")
    await process.start()
    private: set[str] = {process.token, "User-Agent-Of-The-Test"}
    party = Party("private person", identifier="https://person.example/alice")
    private |= {party.identifier, party.issuer.hex(), party.key.public_key.hex(), "person.example"}
    async with process.client(recorder) as client:
        await party.register(client)
        commitment, slot = unique(), party.slot()
        private |= {commitment.hex(), str(slot)} - {"0", "1"}
        await client.submit(party.block([party.issue(slot, commitment)]))
        await client.submit(party.issues(500))
        await client.submit(party.block([party.revoke(slot)]))
        for path in (
            f"/v1/badges/{commitment.hex()}",
            f"/v1/badges/{unique().hex()}",
            f"/v1/issuers/{party.issuer.hex()}",
            f"/v1/slots/{slot}",
            "/v1/issuers",
            "/v1/log",
            "/tile/entries/000",
            "/nowhere",
        ):
            await client.get(path, User_Agent="User-Agent-Of-The-Test")
        await client.send(party.block([party.revoke(slot)]))
        await client.post("/v1/issuers", party.registration(), token="a wrong token")
        await client.request("POST", "/v1/submissions", data=b"{", headers={"Content-Type": "application/json"})
        for garbage in (b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x00", b"GET /%zz HTTP/1.1\r\nHost: \xff\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(process.url.rpartition(":")[2]))
            writer.write(garbage)
            writer.write_eof()
            await reader.read()
            writer.close()
        size = await client.head_size()
    os.kill(process.postgres_pid, signal.SIGKILL)  # which the embedded server's watcher has to tell
    async with process.client(recorder) as client:

        async def answered(block: Block) -> bool:
            return (await client.send(block)).status == 200

        block = party.issues(1)
        await until(lambda: answered(block), "the database comes back")
    await process.stop()
    await process.start()
    async with process.client(recorder) as client:
        assert await client.head_size() >= size
        await client.submit(party.issues(2))
    for file in (process.data / "operator.token", process.data / "keys/log.key", process.data / "guard.db"):
        assert file.stat().st_mode & 0o077 == 0, file
    url = process.url
    await process.stop()
    lines = process.log().splitlines()
    assert lines
    for line in lines:
        event = json.loads(line)
        assert {"event", "level", "timestamp"} <= event.keys()
        if event["event"] != "serve.ready":  # which says where the service itself listens
            assert "127.0.0.1" not in line
    for word in private:
        assert word not in process.log(), word
    assert url.startswith("http://127.0.0.1:")
    await check_process(process, recorder)


async def check_process(process: Process, recorder: Recorder) -> None:
    """The final check of a stopped process's log, on its own database."""
    postgres = EmbeddedPostgres(process.data / "postgres")
    store = await Store.connect(await postgres.start(), min_size=1)
    guard = await SqliteGuard.open(process.data / "guard.db", create=False)
    keys = parse_vkey(process.keys[0]), parse_vkey(process.keys[1])
    assert keys[0].name == ORIGIN
    try:
        await check_log(store, guard, recorder, keys)
    finally:
        await guard.close()
        await store.close()
        await postgres.stop()
