"""What a Kafka error means for us: who must act (core/errors.py)."""

from __future__ import annotations

from typing import cast

from confluent_kafka import KafkaError, KafkaException

from samebase.core.errors import LogLost, SamebaseError, Stop, TooLarge, Unavailable, UnknownHost

LOST = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION})
"""The topic does not hold the offset that was asked for."""

MISSING = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
    | {getattr(KafkaError, name) for name in ("UNKNOWN_TOPIC_ID", "INCONSISTENT_TOPIC_ID") if hasattr(KafkaError, name)}
)
"""There is no such topic: it was deleted, or the broker has just come back and does not know yet."""

_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})

REFUSED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError._INVALID_ARG,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.UNSUPPORTED_VERSION,
    }
)
"""It will not come right by itself: wrong password, missing privilege, something that this broker cannot do."""


class Trouble:
    """What librdkafka's clients reported while nobody asked: it explains a timeout that follows."""

    def __init__(self) -> None:
        self._last: KafkaError | None = None
        self._refusal: KafkaError | None = None

    def report(self, error: KafkaError) -> None:
        """For librdkafka to call, from any thread."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # it says no more than what came before it
            self._last = error
        if error.code() in REFUSED:
            self._refusal = error

    def check(self) -> None:
        """Raise Stop if a broker does not let us in."""
        if self._refusal is not None:
            raise self.translated("signing in", self._refusal)

    def translated(self, doing: str, error: KafkaError | KafkaException) -> SamebaseError:
        """The error of ours that says who must act; `doing` begins its message."""
        if isinstance(error, KafkaException):
            error = cast(KafkaError, error.args[0])
        error = self._refusal or error
        text = f"{doing}: {error.str()} ({error.name()})"
        code = error.code()
        if code in LOST:
            return LogLost(text)
        if code in _TOO_LARGE:
            return TooLarge(text)
        if code in REFUSED:
            return Stop(text)
        if self._last is None:
            return Unavailable(text)
        kind = UnknownHost if self._last.code() == KafkaError._RESOLVE else Unavailable
        return kind(f"{text}; the last that was heard: {self._last.str()}")
