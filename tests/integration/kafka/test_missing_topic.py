"""A topic that is gone is asked for thousands of times without harm to the process that asks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from samebase.kafka.topic import ensure_topic
from tests.support.kafka import Broker

pytestmark = pytest.mark.docker

SECONDS = 12
ASK = """
import sys, threading, time
from samebase.core.errors import Unavailable
from samebase.kafka import watch
from samebase.kafka.config import KafkaAddress
from samebase.kafka.topic import TopicAdmin

watch.GONE_SECONDS = 1000  # ask on
bootstrap, topic, seconds = sys.argv[1:]
watches = [watch.Watch(TopicAdmin(KafkaAddress(bootstrap, topic), 10), 10, 0) for _ in range(16)]
print("ready", flush=True)
sys.stdin.readline()
over = time.monotonic() + float(seconds)
asked = []

def ask(one):
    while time.monotonic() < over:
        try:
            one.look()
        except Unavailable:
            asked.append(1)

threads = [threading.Thread(target=ask, args=(one,)) for one in watches]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(asked))
"""


def test_a_process_that_asks_for_a_deleted_topic_again_and_again_lives(broker: Broker) -> None:
    """The client library's own way of asking where a topic ends corrupts memory then, and the process dies."""
    address = broker.address()
    ensure_topic(address)
    command = [sys.executable, "-c", ASK, address.bootstrap, address.topic, str(SECONDS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        broker.delete_topic(address.topic)
        asked, _ = process.communicate("\n", timeout=SECONDS + 60)
    assert process.returncode == 0
    assert int(asked) > 500
