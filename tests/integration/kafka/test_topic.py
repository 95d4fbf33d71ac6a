"""The topic is made as it must be, or refused with the name of what is wrong."""

from __future__ import annotations

import re
import time

import pytest

from samebase.core.errors import LogLost, Misuse, Stop, Unavailable
from samebase.kafka.config import KafkaAddress, kafka_address
from samebase.kafka.topic import check_topic, ensure_topic
from tests.support.kafka import Broker

pytestmark = pytest.mark.docker

GOOD = {"message_timestamp_type": "LogAppendTime"}


def test_a_topic_that_is_missing_is_made_with_safe_settings(broker: Broker) -> None:
    address = broker.address()
    identity = ensure_topic(address)
    assert identity == ensure_topic(address), "the second time it is only checked"
    settings = broker.topic_settings(address.topic)
    assert {name: settings[name] for name in ("cleanup.policy", "retention.ms", "retention.bytes")} == {
        "cleanup.policy": "delete",
        "retention.ms": "604800000",
        "retention.bytes": "-1",
    }
    assert int(settings["max.message.bytes"]) >= 2**20
    findings = check_topic(address)
    assert [finding for finding in findings if finding.problem] == []
    assert "partitions = 1: ok" in map(str, findings)


def test_a_topic_that_is_missing_is_not_made_unasked(broker: Broker) -> None:
    address = broker.address()
    with pytest.raises(LogLost, match=f"no topic {address.topic}"):
        ensure_topic(address, create=False)
    with pytest.raises(LogLost, match="no topic"):
        check_topic(address)
    assert not broker.has_topic(address.topic)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "3600000"),
        ("retention.bytes", "1000000"),
        ("max.message.bytes", "1000000"),
        ("message.timestamp.type", "CreateTime"),
        ("unclean.leader.election.enable", "true"),
    ],
)
def test_an_unsafe_setting_is_refused_by_name(broker: Broker, setting: str, value: str) -> None:
    address = broker.address()
    broker.make_topic(address.topic, **(GOOD | {setting.replace(".", "_"): value}))
    with pytest.raises(Stop, match=re.escape(f"{setting} = {value}: set it to ")):
        ensure_topic(address)
    assert [str(finding.what) for finding in check_topic(address) if finding.problem] == [setting]


def test_a_topic_without_end_is_good_whatever_its_timestamps(broker: Broker) -> None:
    address = broker.address()
    broker.make_topic(address.topic, retention_ms="-1")
    ensure_topic(address)


def test_several_partitions_are_refused(broker: Broker) -> None:
    address = broker.address()
    broker.make_topic(address.topic, partitions=3, **GOOD)
    with pytest.raises(Stop, match=r"3 partitions.*no total order"):
        ensure_topic(address)


@pytest.mark.parametrize("bootstrap", ["127.0.0.1:1", "nowhere.invalid:9092"])
def test_a_broker_that_is_not_there_is_told_in_time_and_with_its_name(bootstrap: str) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match=re.escape(bootstrap)) as raised:
        ensure_topic(KafkaAddress(bootstrap, "any"), patience=0.5)
    assert time.monotonic() - began < 3
    assert re.search("refused|resolve", str(raised.value)), "and why it is not"


def test_urls_are_read_or_refused() -> None:
    address = kafka_address("kafka://a:9092,b:9093/rule.changes")
    assert (address.bootstrap, address.topic) == ("a:9092,b:9093", "rule.changes")
    for wrong in (
        "kafka://a:9092",
        "kafka://a/topic",
        "kafka://a:0/topic",
        "kafka:///topic",
        "kafka://a:9092/a/b",
        "kafka://name:secret@a:9092/topic",
        "kafka://a:9092/topic?acks=0",
        "sqlite:////tmp/log",
    ):
        with pytest.raises(Misuse) as raised:
            kafka_address(wrong)
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("key", ["acks", "enable.idempotence", "enable.auto.commit", "auto.offset.reset", "error_cb"])
def test_options_that_a_promise_depends_on_are_refused(key: str) -> None:
    with pytest.raises(Misuse, match=key):
        KafkaAddress("a:9092", "topic", {key: "1"})
    KafkaAddress(
        "a:9092", "topic", {"sasl.password": "secret", "ssl.ca.location": "/ca", "security.protocol": "SASL_SSL"}
    )


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(KafkaAddress("a:9092", "topic", {"sasl.password": "secret"}))
