"""Prometheus metrics: base units, `_total`, `_seconds`; no label ever holds an identifier of a person or badge."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ledger.node import Node

# When a counter was made is no figure of the ledger, and doubles their number.
disable_created_metrics()  # type: ignore[no-untyped-call]

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one service; `render` reads the node's state at that moment."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        r = self.registry = CollectorRegistry()
        self.requests = Counter(
            "badge_ledger_http_requests_total", "Requests by route and status", ["route", "status"], registry=r
        )
        self.submissions = Counter("badge_ledger_submissions_total", "Submissions by outcome", ["outcome"], registry=r)
        self.events = Counter("badge_ledger_events_total", "Events logged and answered here", registry=r)
        self.submission_seconds = Histogram(
            "badge_ledger_submission_seconds", "From a submission's arrival to its answer", buckets=_LATENCY, registry=r
        )
        self.receipts = Counter("badge_ledger_receipts_total", "Receipts built", registry=r)
        self._size = Gauge("badge_ledger_tree_size", "Leaves by state of the head", ["state"], registry=r)
        self._head_age = Gauge("badge_ledger_head_age_seconds", "Age of the newest published head", registry=r)
        self._badges = Gauge("badge_ledger_badges", "Slots by state, at the integrated head", ["state"], registry=r)
        self._publisher = Gauge("badge_ledger_publisher", "1 where this node publishes", registry=r)
        self._stopped = Gauge("badge_ledger_stopped", "1 where the ledger has stopped writing", registry=r)
        self._lookup = Gauge(
            "badge_ledger_lookup_recent_entries", "Commitments not yet in the stored index", registry=r
        )
        self._quorum_waiting = Gauge(
            "badge_ledger_quorum_waiting_seconds", "Time that the newest signed head has lacked its quorum", registry=r
        )
        self._witness_failures = Gauge(
            "badge_ledger_witness_failures", "Failures in a row, 0 while it cosigns", ["witness"], registry=r
        )
        self._witness_lag = Gauge(
            "badge_ledger_witness_lag",
            "Leaves of the newest signed head that it has not cosigned",
            ["witness"],
            registry=r,
        )

    def render(self, node: Node) -> bytes:
        """The text exposition."""
        replay, head = node.sequencer.replay, node.publication.head
        self._size.labels("integrated").set(replay.size)
        self._size.labels("published").set(head.size if head else 0)
        self._head_age.set(node.clock.now_ms() / 1000 - head.time_s if head else 0)
        self._badges.labels("issued").set(replay.issued)
        self._badges.labels("revoked").set(replay.revoked)
        self._badges.labels("suspended").set(replay.suspended)
        self._publisher.set(node.publisher.is_publisher)
        self._stopped.set(node.stopped is not None)
        self._lookup.set(len(node.lookup))
        gatherer = node.gatherer
        self._quorum_waiting.set(gatherer.waiting_s() if gatherer else 0)
        for state in gatherer.states() if gatherer else ():
            self._witness_failures.labels(state.name).set(state.failures)
            self._witness_lag.labels(state.name).set(max(0, gatherer.size - state.size) if gatherer else 0)
        return generate_latest(self.registry)
