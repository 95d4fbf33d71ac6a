"""Keeps processes running: starts them, starts again what dies, stops them in order.

Rules:

1. One thread. The kernel is told to end a child when the thread that started it is gone (Linux), so that nothing
   outlives a supervisor that was killed; and running code between fork and exec is safe without other threads.
2. Each child leads a process group of its own. Ctrl-C in a terminal reaches only the supervisor, which stops the
   children in order; what a dead child leaves behind (gunicorn's workers) is killed with its group.
3. A child that dies is started again, at once the first time, then after a doubling pause. One that dies
   AT_ONCE_LIMIT times in a row before it has answered anything is hopeless: then everything is stopped.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from tools.embedded.errors import Refused
from tools.embedded.plan import Process
from tools.embedded.readiness import Look, look

TICK_SECONDS = 0.1
LOOK_SECONDS = {False: 0.25, True: 2.0}
"""How often a process is asked how it is: until it is ready, and from then on."""
AT_ONCE_LIMIT = 5
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
SETTLED_SECONDS = 30.0
"""Whoever has run so long starts again without a pause when it dies."""
STOP_SECONDS = 10.0
WAITING_LINE_SECONDS = 10.0
START_SECONDS = 120.0
"""For becoming ready, without a sign of progress."""
LARGEST_LOG_BYTES = 20 * 1024 * 1024
LAST_LINES = 15
PR_SET_PDEATHSIG = 1
FOREIGN = ("TODO_", "SAMEBASE_", "GUNICORN_", "PROMETHEUS_", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")
"""Variables of whoever calls us that would change what the children do."""

Say = Callable[[str], None]


class Child:
    """One process, started as often as need be."""

    def __init__(self, process: Process, directory: Path) -> None:
        self.process = process
        self.log = directory / "logs" / f"{process.name}.log"
        self.popen: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        self.at_once = 0
        self.start_at = 0.0
        self.started = 0.0
        self.last = Look()
        self.look_at = 0.0
        self.announced = False

    @property
    def running(self) -> bool:
        return self.popen is not None

    def start(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                self.process.command,
                env={**inherited, **self.process.settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent(),  # noqa: PLW1509 - rule 1
            )
        self.started = time.monotonic()
        self.look_at = 0.0
        self.last = Look()

    def died(self) -> str | None:
        """How, if it just did."""
        if self.popen is None or (code := self.popen.poll()) is None:
            return None
        self.signal(signal.SIGKILL)
        self.popen = None
        now = time.monotonic()
        self.at_once = 0 if self.last.alive else self.at_once + 1
        self.deaths = 1 if now - self.started > SETTLED_SECONDS else self.deaths + 1
        self.start_at = now + (
            0 if self.deaths == 1 else min(FIRST_PAUSE_SECONDS * 2 ** (self.deaths - 2), LONGEST_PAUSE_SECONDS)
        )
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def signal(self, number: signal.Signals) -> None:
        """Send to the whole group for SIGKILL, else to the process, which tells its own."""
        if self.popen is None:
            return
        try:
            if number == signal.SIGKILL:
                os.killpg(self.popen.pid, number)
            elif self.popen.poll() is None:
                self.popen.send_signal(number)
        except ProcessLookupError:
            return

    def last_lines(self) -> str:
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 20_000))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-LAST_LINES:])


class Supervisor:
    """Args:
    directory: where `logs/` and `pids.json` are.
    processes: in the order of starting.
    say: tells a person.
    """

    def __init__(self, directory: Path, processes: Sequence[Process], say: Say) -> None:
        self._children = [Child(process, directory) for process in processes]
        self._pids = directory / "pids.json"
        self._say = say
        self._interrupts = 0

    def run(self, ready: Callable[[], None]) -> None:
        """Start everything, call `ready` once when all processes are, and keep them running until SIGINT or SIGTERM.
        Everything is stopped when this returns or raises. Raises Refused if that is hopeless."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        try:
            if self._start():
                ready()
                while not self._interrupts:
                    self._tick(announce=True)
        finally:
            self._stop()

    def _start(self) -> bool:
        """Whether all became ready; otherwise we were interrupted."""
        progress: tuple[tuple[str, str], ...] = ()
        moved = said = time.monotonic()
        while not self._interrupts:
            self._tick(announce=False)
            waiting = [child for child in self._children if not child.last.ready]
            if not waiting:
                for child in self._children:
                    child.announced = True
                return True
            for child in waiting:
                if child.last.stopped:
                    raise Refused(f"{child.process.name} has {child.last.reason}")
            reasons = tuple((child.process.name, child.last.reason) for child in waiting)
            now = time.monotonic()
            if reasons != progress:
                progress, moved = reasons, now
            if now - moved > START_SECONDS:
                raise Refused(f"{_listed(reasons)}: gave up waiting after {START_SECONDS:.0f} s")
            if now - said > WAITING_LINE_SECONDS:
                said = now
                self._say(f"waiting for {_listed(reasons)}")
        return False

    def _tick(self, *, announce: bool) -> None:
        changed = False
        for child in self._children:
            name = child.process.name
            if (how := child.died()) is not None:
                if child.at_once >= AT_ONCE_LIMIT:
                    raise Refused(f"{name} {how} {AT_ONCE_LIMIT} times before it answered", child.last_lines())
                pause = child.start_at - time.monotonic()
                self._say(f"{name} {how}; starting it again" + (f" in {pause:.1f} s" if pause > TICK_SECONDS else ""))
                child.announced = False
            if not child.running and time.monotonic() >= child.start_at:
                child.start()
                changed = True
        if changed:
            self._note_pids()
        self._look(announce=announce)
        time.sleep(TICK_SECONDS)

    def _look(self, *, announce: bool) -> None:
        for child in self._children:
            now = time.monotonic()
            if not child.running or now < child.look_at:
                continue
            child.last = look(child.process)
            child.look_at = now + LOOK_SECONDS[child.last.ready]
            if not announce:
                continue
            if child.last.ready and not child.announced:
                self._say(f"{child.process.name} is ready again")
            elif child.announced and not child.last.ready and child.last.alive:
                self._say(f"{child.process.name} is not ready: {child.last.reason}")
            child.announced = child.last.ready

    def _note_pids(self) -> None:
        pids = {child.process.name: child.popen.pid for child in self._children if child.popen is not None}
        new = self._pids.with_suffix(".new")
        new.write_text(json.dumps(pids, indent=1))
        new.replace(self._pids)

    def _interrupt(self, *_: object) -> None:
        self._interrupts += 1

    def _stop(self) -> None:
        """The last started go first, a whole stage at a time. A second Ctrl-C kills."""
        asked = self._interrupts
        for _, stage in groupby(reversed(self._children), key=lambda child: child.process.stage):
            children = list(stage)
            for child in children:
                child.signal(signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while any(child.popen is not None and child.popen.poll() is None for child in children):
                if time.monotonic() > deadline or self._interrupts > max(asked, 1):
                    break
                time.sleep(TICK_SECONDS / 4)
            for child in children:
                child.signal(signal.SIGKILL)
                if child.popen is not None:
                    child.popen.wait()
        self._pids.unlink(missing_ok=True)


def _listed(reasons: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({reason})" for name, reason in reasons)


def _end_with_parent() -> Callable[[], None] | None:
    """For the child, between fork and exec: get SIGTERM when the supervisor is gone, however it went."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it went before we could say so
            os._exit(1)

    return arrange
