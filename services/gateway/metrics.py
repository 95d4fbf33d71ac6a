"""What the gateway counts, beside what every service counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

UPSTREAM_SECONDS = Histogram(
    "gateway_upstream_seconds",
    "Time from sending a try to its whole answer or its failure",
    ["service", "outcome"],  # 2xx, 3xx, 4xx, 5xx, notsent, broken, timedout
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RETRIES = Counter("gateway_retries_total", "Tries after the first one of a call", ["service", "reason"])
UNANSWERED = Counter("gateway_unanswered_total", "Calls that got no answer from any replica", ["service", "reason"])
DEGRADED = Counter("gateway_degraded_total", "Answers that had to do without a service", ["service"])
BREAKER = Gauge(
    "gateway_breaker_state",
    "0 closed, 1 half-open, 2 open",
    ["service", "address"],
    multiprocess_mode="livemax",
)
HEALTH = Gauge(
    "gateway_replica_ready",
    "1 if the address said at the last poll that it is ready",
    ["service", "address"],
    multiprocess_mode="livemin",
)
