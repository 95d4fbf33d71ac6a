"""The log on a real broker: what it writes, and how it behaves when something goes wrong."""

from __future__ import annotations

import json
import os
import random
import threading
import time

import pytest

from samebase.core.errors import LogLost, Misuse, Stop, TooLarge, Unavailable
from samebase.core.types import Change, Policy, Record, Transaction
from samebase.core.wire import decode, encode
from samebase.kafka.config import KafkaAddress
from samebase.kafka.log import KafkaLog
from samebase.kafka.topic import ensure_topic
from samebase.ports import LogRecord
from tests.integration.kafka.conftest import OpenLog
from tests.support.kafka import Broker, until

pytestmark = pytest.mark.docker


def records(*texts: str) -> list[Record]:
    return [Record(text.encode(), {"ce_type": "test"}) for text in texts]


def append(log: KafkaLog, *texts: str, seconds: float = 20) -> list[int]:
    return [future.result(seconds) for future in log.append_all(records(*texts))]


def read_all(log: KafkaLog, start: int, count: int) -> list[LogRecord]:
    """The next `count` records, however many reads that takes."""
    found: list[LogRecord] = []

    def enough() -> bool:
        found.extend(log.read(start + len(found), 500))
        return len(found) >= count

    until(enough, f"{count} records")
    return found


def reopened(open_log: OpenLog) -> KafkaLog:
    """Tried until the broker is all there, as the runner does it."""
    opened: list[KafkaLog] = []

    def try_once() -> bool:
        try:
            opened.append(open_log())
        except Unavailable:
            return False
        return True

    until(try_once, "opened")
    return opened[0]


def transaction(seq: int, text: str) -> Transaction:
    row = {"id": "a", "text": text}
    change = Change("item", ("a",), None, row, Policy("merge", ("id",)))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    return Transaction("rule-1@x", seq, 0, False, (change,), request="r1", traceparent=trace, ts_ms=5)


def test_a_plain_consumer_finds_json_and_cloudevents_headers(
    broker: Broker, address: KafkaAddress, open_log: OpenLog
) -> None:
    (record,) = encode(transaction(7, "grün"))
    open_log().append_all([record])[0].result(20)
    consumer = broker.consumer(address.topic)
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    assert message.error() is None
    assert dict(message.headers() or []) == {
        "ce_specversion": b"1.0",
        "ce_type": b"samebase.transaction",
        "ce_source": b"rule-1@x",
        "ce_id": b"rule-1@x:7",
        "ce_traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "content-type": b"application/json",
    }
    value = message.value()
    assert value is not None
    assert json.loads(value)["changes"][0] == {
        "op": "c",
        "table": "item",
        "before": None,
        "after": {"id": "a", "text": "grün"},
    }


def test_the_largest_record_that_we_make_passes_even_if_it_cannot_be_compressed(open_log: OpenLog) -> None:
    text = "".join(random.Random(1).choices("".join(map(chr, range(40, 120))), k=850_000)).replace("\\", "/")
    (record,) = encode(transaction(1, text))
    assert len(record.value) > 850_000
    log = open_log()
    (future,) = log.append_all([record])
    (found,) = read_all(log, future.result(20), 1)
    assert decode(found.value, 0).content == transaction(1, text)


def test_a_record_over_the_limit_stops_instead_of_being_tried_for_ever(open_log: OpenLog) -> None:
    log = open_log()
    large, after = log.append_all([Record(b"x" * 1_100_000, {}), *records("after")])
    with pytest.raises(TooLarge):
        large.result(20)
    with pytest.raises(TooLarge):
        after.result(20)
    assert log.end() == 0


def test_what_another_process_appends_is_seen_soon_and_wakes_who_waits(open_log: OpenLog) -> None:
    woken = threading.Event()
    one, other = open_log(freshness=60, wake=woken.set), open_log(freshness=60)
    assert list(one.read(0, 10)) == []
    assert append(other, "a", "b") == [0, 1]
    assert woken.wait(5), "no question to the broker is due, the fetch alone tells"
    assert [record.value for record in read_all(one, 0, 2)] == [b"a", b"b"]
    assert one.end() == 2


def test_the_exact_end_has_what_others_appended_just_before(open_log: OpenLog) -> None:
    ours, theirs = open_log(), open_log()
    for number in range(20):
        append(theirs, f"record {number}")
        assert ours.end(exact=True) == number + 1


def test_an_acknowledgement_wakes_who_waits(open_log: OpenLog) -> None:
    woken = threading.Event()
    log = open_log(wake=woken.set)
    (future,) = log.append_all(records("a"))
    assert woken.wait(5)
    assert future.result(5) == 0


def test_two_producers_interleave_without_losing_their_own_order(open_log: OpenLog) -> None:
    logs = {name: open_log() for name in "ab"}
    for log in logs.values():
        append(log, "first")
    together = threading.Barrier(2)

    def fill(name: str) -> None:
        together.wait(10)
        for start in range(0, 2000, 50):
            for future in logs[name].append_all(records(*(f"{name}{start + index}" for index in range(50)))):
                future.result(20)

    threads = [threading.Thread(target=fill, args=name) for name in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = read_all(open_log(), 2, 4000)
    assert [record.offset for record in found] == list(range(2, 4002))
    texts = [record.value.decode() for record in found]
    for name in logs:
        assert [text for text in texts if text[0] == name] == [f"{name}{number}" for number in range(2000)]
    assert texts != sorted(texts, key=lambda text: text[0]), "they ran at the same time"


def test_reading_can_go_back_and_forth(open_log: OpenLog) -> None:
    log = open_log()
    append(log, *(f"v{number}" for number in range(1000)))
    for start in (0, 500, 3, 999, 3):
        found = log.read(start, 10)
        assert [record.offset for record in found] == list(range(start, min(start + 10, 1000)))


def test_more_than_the_queue_holds_waits_for_room(open_log: OpenLog) -> None:
    log = open_log(patience=60)
    value = os.urandom(500_000)
    futures = log.append_all([Record(value, {})] * 100)  # 50 MB, the queue holds 32
    assert [future.result(60) for future in futures] == list(range(100))


def test_a_topic_made_again_is_noticed_by_who_has_it_open(
    broker: Broker, address: KafkaAddress, open_log: OpenLog
) -> None:
    log = open_log(freshness=0.05)
    append(log, "a")
    broker.delete_topic(address.topic)
    ensure_topic(address)
    with pytest.raises(LogLost, match="made again"):
        until(lambda: log.read(1, 10) and False, "an error")
    with pytest.raises(LogLost):
        log.read(1, 10)


def test_nothing_is_acknowledged_by_a_topic_that_the_broker_made_for_the_producer(
    broker: Broker, address: KafkaAddress, open_log: OpenLog
) -> None:
    log = open_log(freshness=60)
    append(log, "a")
    broker.delete_topic(address.topic)
    with pytest.raises(LogLost, match="made again"):
        append(log, "b")


def test_a_deleted_topic_is_lost_after_a_moment(broker: Broker, address: KafkaAddress, open_log: OpenLog) -> None:
    log = open_log(freshness=0.05)
    append(log, "a")
    broker.delete_topic(address.topic)
    with pytest.raises(LogLost, match="deleted"):
        until(lambda: log.read(1, 10) and False, "an error")
    with pytest.raises(LogLost):
        open_log()


def test_a_topic_that_gets_more_partitions_is_refused(broker: Broker, address: KafkaAddress, open_log: OpenLog) -> None:
    from confluent_kafka.admin import NewPartitions

    log = open_log(freshness=0.05)
    broker.admin.create_partitions([NewPartitions(address.topic, 2)])[address.topic].result(20)
    with pytest.raises(Stop, match="2 partitions"):
        until(lambda: log.end() < 0, "an error")


def test_retention_that_has_cut_off_our_offset_is_lost(
    broker: Broker, address: KafkaAddress, open_log: OpenLog
) -> None:
    log = open_log()
    append(log, *(f"v{number}" for number in range(10)))
    broker.cut(address.topic, 6)
    with pytest.raises(LogLost, match="does not hold"):
        log.read(5, 10)
    assert [record.offset for record in log.read(6, 10)] == [6, 7, 8, 9]
    assert log.begin() == 6


def test_a_killed_broker_is_unavailable_in_time_and_comes_back_with_everything(
    broker: Broker, open_log: OpenLog
) -> None:
    assert append(open_log(), "before") == [0]
    log = open_log(patience=1.5, freshness=0.1)
    assert [record.value for record in read_all(log, 0, 1)] == [b"before"]
    with broker.killed():
        began = time.monotonic()
        (future,) = log.append_all(records("while it is away"))
        with pytest.raises(Unavailable):
            future.result(10)
        with pytest.raises(Unavailable, match="has not answered"):
            until(lambda: log.read(1, 10) and False, "an error", 10)
        assert time.monotonic() - began < 6
        with pytest.raises(Unavailable):
            open_log(patience=0.5)
        log.close()
    again = reopened(open_log)
    place = append(again, "after")[0]
    assert read_all(again, 0, place + 1)[0].value == b"before"


def test_a_broker_that_was_killed_shortly_is_not_even_noticed(broker: Broker, open_log: OpenLog) -> None:
    log = open_log(patience=60, freshness=0.1)
    append(log, "a")
    read_all(log, 0, 1)
    with broker.killed():
        (future,) = log.append_all(records("b"))
        assert list(log.read(1, 10)) == []
    assert future.result(60) == 1
    assert [record.value for record in read_all(log, 1, 1)] == [b"b"]


def test_a_paused_broker_delays_and_loses_nothing(broker: Broker, open_log: OpenLog) -> None:
    log = open_log(patience=30, freshness=0.1)
    append(log, "a")
    read_all(log, 0, 1)
    with broker.paused():
        futures = log.append_all(records("b", "c"))
        deadline = time.monotonic() + 3
        slowest = 0.0
        while time.monotonic() < deadline:
            began = time.monotonic()
            assert list(log.read(1, 10)) == []
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 0.5, "an idle reader does not wait for it"
        assert not any(future.done() for future in futures)
    assert [future.result(30) for future in futures] == [1, 2]
    assert [record.value for record in read_all(log, 1, 2)] == [b"b", b"c"]


def test_a_broker_that_is_paused_for_long_is_unavailable(broker: Broker, open_log: OpenLog) -> None:
    append(open_log(), "a")
    log = open_log(patience=1, freshness=0.1)
    read_all(log, 0, 1)
    with broker.paused(), pytest.raises(Unavailable):
        until(lambda: log.read(1, 10) and False, "an error", 10)
    append(reopened(open_log), "b")


def test_closing_does_not_wait_for_a_broker_that_is_away(broker: Broker, open_log: OpenLog) -> None:
    log = open_log(patience=60)
    append(log, "a")
    with broker.paused():
        (future,) = log.append_all(records("b"))
        began = time.monotonic()
        log.close()
        assert time.monotonic() - began < 5
        with pytest.raises(Unavailable):
            future.result(0)


def test_a_process_that_was_forked_must_open_its_own(open_log: OpenLog) -> None:
    log = open_log()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            log.end()
        except Misuse:
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_patience_must_make_sense(address: KafkaAddress) -> None:
    for settings in ({"patience": 0}, {"freshness": -1}):
        with pytest.raises(Misuse):
            KafkaLog(address, **settings)
