"""Benchmarks of the running service: bulk issuance, single submissions, a lone submission, receipts, a whole class.

    python -m ops.bench [bulk] [single] [lone] [receipts] [issuing] [--events N] [--json]

Service, database and client share one machine; each line says how much of it each took. Figures are of this run on this
machine: compare the ratios, which were measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from ledger.block import encode_body
from ops.bench import limits
from ops.bench.issuing import issuing
from ops.bench.rawclient import get, load, post
from ops.bench.service import Service, Shares

Result = dict[str, Any]


def _percentiles(latencies: list[float]) -> str:
    ordered = sorted(latencies)
    median, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    return f"median {median * 1000:.1f} ms, 99th {p99 * 1000:.1f} ms"


def bulk(service: Service, events: int) -> Result:
    """Pre-signed submissions of 10,000 events over 4 connections."""
    size = 10_000
    slots = service.slots(events)
    blocks = [service.submission(slots[at : at + size]) for at in range(0, events, size)]
    requests = [post("/v1/submissions", encode_body(block)) for block in blocks]
    with Shares(service.process.pid) as shares:
        latencies = load(service.port, requests, 4)
    rate = events / shares.seconds
    limit = limits.core_events_per_s(blocks[0])
    return {
        "what": f"bulk: {len(requests)} submissions of {size:,} events",
        "figure": f"{rate:,.0f} events/s, {_percentiles(latencies)}",
        "ratio": f"{rate / limit:.2f} of the {limit:,.0f} events/s that one core reads and hashes",
        "shares": str(shares),
        "value": rate,
    }


def single(service: Service, events: int) -> Result:
    """Single-event submissions, each with its own signature, 256 at a time."""
    slots = service.slots(events)
    bodies = [encode_body(service.submission([slot])) for slot in slots]
    requests = [post("/v1/submissions", body) for body in bodies]
    load(service.port, requests[:2000], 256)
    with Shares(service.process.pid) as shares:
        latencies = load(service.port, requests[2000:], 256)
    rate = len(latencies) / shares.seconds
    empty = limits.empty_posts_per_s(256, len(bodies[0]))
    checks = limits.ed25519_per_s()
    together = 1 / (1 / empty + 1 / checks)
    return {
        "what": "single: one event and one signature a submission, 256 at a time",
        "figure": f"{rate:,.0f} submissions/s, {_percentiles(latencies)}",
        "ratio": (
            f"{rate / together:.2f} of {together:,.0f}/s: an empty handler ({empty:,.0f}/s) "
            f"and a signature check ({checks:,.0f}/s) one after the other"
        ),
        "shares": str(shares),
        "value": rate,
    }


def lone(service: Service, events: int) -> Result:
    """One submission at a time, with its full receipt in the answer: from the request to the receipt."""
    slots = service.slots(min(500, events))
    requests = [post("/v1/submissions?receipts=full", encode_body(service.submission([slot]))) for slot in slots]
    load(service.port, requests[:50], 1)
    with Shares(service.process.pid) as shares:
        latencies = load(service.port, requests[50:], 1)
    fsyncs = limits.fsyncs_per_s()
    median = statistics.median(latencies)
    return {
        "what": "lone: one submission at a time, to its receipt",
        "figure": _percentiles(latencies),
        "ratio": f"{median * fsyncs:.1f} x one fsync of 4 KiB ({1000 / fsyncs:.2f} ms)",
        "shares": str(shares),
        "value": median,
    }


def receipts(service: Service, events: int) -> Result:
    """Full receipts of random badges in a log of bulk submissions, as JSON, 64 at a time."""
    slots = service.slots(events)
    first = []
    for at in range(0, events, 10_000):
        body = encode_body(service.submission(slots[at : at + 10_000]))
        load(service.port, [post("/v1/submissions", body)], 1)
        first.append(service.get("/v1/log")["head"]["size"] - 1 - min(10_000, events - at))
    chosen = random.Random(1)
    indexes = [chosen.choice(first) + chosen.randrange(min(10_000, events)) for _ in range(12_000)]
    requests = [get(f"/v1/receipts/{index}?profile=full") for index in indexes]
    load(service.port, requests[:2000], 64)
    with Shares(service.process.pid) as shares:
        latencies = load(service.port, requests[2000:], 64)
    rate = len(latencies) / shares.seconds
    empty = limits.empty_posts_per_s(64, 100)
    return {
        "what": f"receipts: full, JSON, random badges of {events:,}",
        "figure": f"{rate:,.0f} receipts/s, {_percentiles(latencies)}",
        "ratio": f"{rate / empty:.2f} of the {empty:,.0f} answers/s of an empty handler",
        "shares": str(shares),
        "value": rate,
    }


BENCHMARKS: dict[str, tuple[Callable[[Service, int], Result], int]] = {
    "bulk": (bulk, 600_000),
    "single": (single, 40_000),
    "lone": (lone, 500),
    "receipts": (receipts, 200_000),
    "issuing": (issuing, 100_000),
}


def main() -> None:
    """Run the benchmarks named on the command line, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help="which (default: all)")
    parser.add_argument("--events", type=int, help="how many events (default: each benchmark's own)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}", file=sys.stderr)
    for name in options.names or BENCHMARKS:
        run, events = BENCHMARKS[name]
        with Service() as service:
            result = run(service, options.events or events)
        if options.json:
            print(json.dumps(result), flush=True)
        else:
            print(
                f"{result['what']}\n    {result['figure']}\n    {result['ratio']}\n    {result['shares']}", flush=True
            )


if __name__ == "__main__":
    main()
