"""What the sync process counts, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

offset = Gauge("samebase_offset", "Next log entry to apply.")
log_end = Gauge("samebase_log_end", "Offset that the next log entry will get, when it was looked at last.")
lag_seconds = Gauge("samebase_lag_seconds", "For how long this replica has not been at the log's end.")
pending = Gauge("samebase_pending_transactions", "Local transactions that have not been seen back in the log.")
rejected = Gauge("samebase_rejected_transactions", "Rejected transactions on record, of all origins.")
published = Counter("samebase_published_transactions", "Transactions appended to the log, repetitions included.")
applied = Counter("samebase_applied_transactions", "Log entries that counted and were decided.")
apply_seconds = Histogram("samebase_apply_seconds", "From the start of a batch's transaction to its commit.")
restarts = Counter("samebase_session_restarts", "Sessions that ended with an error and began again.", ["error"])
held_seconds = Histogram(
    "samebase_snapshot_held_seconds",
    "For how long no batch was applied, because a consistent view was being opened.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)
