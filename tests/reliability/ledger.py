"""What clients sent and what came back, held against what the server says it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

GRACE_S = 1.0
"""How long after its deadline a request may be answered."""


@dataclass
class Ledger:
    """One run. Ids are the clients' ``X-Request-Id``."""

    answered: dict[str, int] = field(default_factory=dict)
    """id -> status of requests that were read to their end."""
    given_up: set[str] = field(default_factory=set)
    """Requests whose client hung up on purpose."""
    sources: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    hung: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    """Files that were not what the answer was."""
    took_s: list[float] = field(default_factory=list)
    streams: int = 0
    stream_errors: list[str] = field(default_factory=list)

    def add(self, request_id: str, status: int, took_s: float, deadline_s: float) -> None:
        """An answer that is complete."""
        assert request_id not in self.answered
        self.answered[request_id] = status
        self.took_s.append(took_s)
        if took_s > deadline_s + GRACE_S:
            self.late.append(request_id)

    def add_motion(self, request_id: str, headers: Mapping[str, str], motion: Mapping[str, Any]) -> None:
        """What made the motion, and whether it says so."""
        generator = motion["metadata"]["generator"]
        reason = motion["metadata"].get("fallback_reason")
        self.sources[generator] += 1
        if reason is not None:
            self.reasons[reason] += 1
        is_placeholder = generator == "placeholder"
        labels = (motion["fallback_used"], reason is not None, headers.get("x-motion-fallback") == "true")
        if set(labels) != {is_placeholder} or headers.get("x-motion-generator") != generator:
            self.unlabelled.append(request_id)

    def compare(self, log: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
        """What does not agree with the server's own lines, by kind of disagreement; all empty is the promise."""
        seen: dict[str, list[int]] = {}
        for line in log:
            if line.get("event") == "request" and (name := line.get("request_id")) is not None:
                seen.setdefault(name, []).append(line["status"])
        return {
            "unknown_to_the_server": [name for name in self.answered if name not in seen],
            "another_status": [name for name, status in self.answered.items() if seen.get(name, [status])[0] != status],
            "duplicated": [name for name in [*self.answered, *self.given_up] if len(seen.get(name, ())) > 1],
        }

    def facts(self) -> dict[str, Any]:
        """Counts, for the last line."""
        statuses = Counter(self.answered.values())
        ordered = sorted(self.took_s)
        return {
            "answered": len(self.answered),
            "given_up_by_clients": len(self.given_up),
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
            "sources": dict(self.sources),
            "reasons": dict(self.reasons),
            "hung": len(self.hung),
            "late": len(self.late),
            "unlabelled_placeholders": len(self.unlabelled),
            "torn_files": len(self.torn),
            "streams": self.streams,
            "stream_errors": len(self.stream_errors),
            "p50_ms": round(1000 * ordered[len(ordered) // 2], 1) if ordered else None,
            "p99_ms": round(1000 * ordered[int(0.99 * len(ordered))], 1) if ordered else None,
            "max_ms": round(1000 * ordered[-1], 1) if ordered else None,
        }
