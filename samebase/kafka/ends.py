"""Where the topic begins and ends, as the broker says: asked for without waiting.

`AdminClient.list_offsets`, which is made for this, frees memory twice when the partition's leader is not known at that
moment (librdkafka 2.16.0): a topic that is deleted would end the process instead of stopping the replica. So a consumer
asks, which has no such fault but keeps its caller waiting, and a thread waits for it.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from samebase.core.errors import Unavailable
from samebase.kafka.config import KafkaAddress, LogLines, consumer
from samebase.kafka.errors import MISSING, Trouble


class Range(NamedTuple):
    """Offsets of the first record that is there, and of the next that will be."""

    begin: int
    end: int


class Ends:
    """Asks the broker, over a connection of its own; answers questions one after another."""

    def __init__(self, address: KafkaAddress, trouble: Trouble, patience: float) -> None:
        self._topic, self._trouble, self._patience = address.topic, trouble, patience
        self._consumer = Consumer(consumer(address, trouble.report), logger=LogLines())
        self._questions: SimpleQueue[Future[Range] | None] = SimpleQueue()
        threading.Thread(target=self._answer, name="kafka-ends", daemon=True).start()

    def ask(self) -> Future[Range]:
        """The answer comes within `patience` seconds, or the future raises Unavailable or Stop."""
        question: Future[Range] = Future()
        self._questions.put(question)
        return question

    def close(self) -> None:
        """Waits for nobody: the connection is closed when the question under way has its answer."""
        self._questions.put(None)

    def _answer(self) -> None:
        while (question := self._questions.get()) is not None:
            try:
                question.set_result(self._range())
            except Exception as error:  # noqa: BLE001  # whoever asked raises it
                question.set_exception(error)
        self._consumer.close()

    def _range(self) -> Range:
        doing = f"asking where the topic {self._topic} begins and ends"
        try:
            found = self._consumer.get_watermark_offsets(TopicPartition(self._topic, 0), timeout=self._patience)
        except KafkaException as error:
            if error.args[0].code() in MISSING:
                raise Unavailable(f"{doing}: the topic is not there") from error
            raise self._trouble.translated(doing, error) from error
        if found is None:
            raise Unavailable(f"{doing}: nobody answers")
        return Range(*found)
