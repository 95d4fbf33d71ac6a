"""`make run`: it continues with its data, grows, stops without a trace, and says in one line why it cannot start."""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.people import Person
from tests.support.replicas import wait_for
from tests.support.system import CHECKOUT, System, alive, free_base_port, ports_from, rows
from tools.embedded import plan, ports


def refused(directory: Path, port: int | str, *arguments: str) -> tuple[int, str]:
    """Exit code and last line of a start that must fail."""
    command = [sys.executable, "-m", "tools.embedded", "--directory", str(directory), "--port", str(port), *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


def test_more_replicas_catch_up_fewer_leave_the_data_and_nothing_is_left_when_it_stops(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with System(directory, user=1, rule=3) as system:
        port = system.port
        ada = Person(system.gateway, "ada")
        keys = [ada.call("POST", f"{system.gateway}/rule", json={"name": str(n)}).json()["key"] for n in range(25)]
        system.compare_replicas()
        processes = system.processes()
        assert len(processes) == 4 * 3 + 2, "a sync process, gunicorn and its worker for each replica; the gateway"
        assert system.stop(signal.SIGINT) == 0
        assert not [pid for pid in processes if alive(pid)], "processes are left"
        assert not [number for number in system.ports if ports.in_use(plan.HOST, number)], "open ports"
        assert system.said().endswith("samebase: stopped\n")

    with System(directory, user=1, rule=5, port=port) as system:
        ada.sign_in(system.gateway)
        system.compare_replicas()
        for replica in system.replicas("rule"):
            for key in keys:
                assert ada.call("GET", f"{system.api(replica)}/rule/{key}").status_code == 200
        made = ada.call("POST", f"{system.api('rule-5')}/rule", json={"name": "by a new replica"})
        read = ada.call("GET", f"{system.api('rule-1')}/rule/{made.json()['key']}", made.headers["X-Replica-Token"])
        assert read.json()["name"] == "by a new replica"
        system.compare_replicas()
        before = rows(system.database("rule-5"), "SELECT * FROM item")

    with System(directory, user=1, rule=2, port=port) as system:
        assert rows(directory / "rule-5.db", "SELECT * FROM item") == before
        assert ada.call("GET", f"{system.gateway}/rule").json()["total"] == 26


def test_a_replica_that_lost_its_database_builds_it_again(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with System(directory, user=1, rule=2) as system:
        ada = Person(system.gateway)
        for number in range(10):
            assert ada.call("POST", f"{system.gateway}/rule", json={"name": str(number)}).status_code == 201
        system.compare_replicas()
    for file in directory.glob("rule-1.db*"):
        file.unlink()
    with System(directory, user=1, rule=2) as system:
        system.compare_replicas()
        assert rows(system.database("rule-1"), "SELECT count(*) FROM item") == [(10,)]


def test_nothing_survives_a_supervisor_that_is_killed_and_the_next_start_works(tmp_path: Path) -> None:
    with System(tmp_path / "run", user=1, rule=1) as system:
        processes = system.processes()
        system.supervisor.kill()
        wait_for(lambda: not any(alive(pid) for pid in processes), "its processes end by themselves")
        with System(tmp_path / "run", user=1, rule=1, port=system.port) as again:
            assert Person(again.gateway)


def test_a_second_system_on_the_same_data_is_refused_and_so_are_taken_ports(system: System, tmp_path: Path) -> None:
    code, line = refused(system.directory, free_base_port())
    assert (code, f"in use by another `make run` (pid {system.supervisor.pid}" in line) == (1, True), line
    code, line = refused(tmp_path / "other", system.port)
    pid = system.pids()["user-1-sync"]
    taken = system.port + 151
    assert (code, f"port {taken} (for user-1-sync) is in use by pid {pid}" in line) == (1, True), line


def test_the_gateways_port_may_be_anybodys(tmp_path: Path) -> None:
    port = free_base_port()
    with closing(socket.create_server((plan.HOST, port))):
        code, line = refused(tmp_path / "run", port)
    assert (code, f"port {port} (for gateway) is in use by pid" in line) == (1, True), line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "0"], "PORT must be a number from 1 to"),
        (["--port", "65500"], "PORT must be a number from 1 to"),
        (["--rule", "three"], "RULE must be a number from 1 to"),
        (["--user", "0"], "USER must be a number from 1 to"),
        (["--what"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    code, line = refused(tmp_path / "run", 8080, *arguments)
    assert (code, said in line) == (2, True), line


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a system that was used and stopped."""
    directory = tmp_path_factory.mktemp("used") / "run"
    with System(directory, user=1, rule=2) as system:
        ada = Person(system.gateway)
        assert ada.call("POST", f"{system.gateway}/rule", json={"name": "milk"}).status_code == 201
        system.compare_replicas()
    return directory


def _overwrite(path: Path, start: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"damage" * 500)


def _empty(log: Path) -> None:
    with closing(sqlite3.connect(log)) as connection, connection:
        connection.execute("DELETE FROM entries")


def _to_a_file(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.write_text("not a directory")


def _to_a_loop(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.symlink_to(directory)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file": (_to_a_file, "must be a directory"),
    "cannot be opened": (_to_a_loop, "run"),
    "no database": (lambda d: _overwrite(d / "rule-1.db", 0), "rule-1.db cannot be read (file is not a database)"),
    "a damaged database": (lambda d: _overwrite(d / "user-1.db", 4096 * 2), "user-1.db is damaged"),
    "a damaged log": (lambda d: _overwrite(d / "rule.changes.db", 0), "rule.changes.db cannot be read"),
    "no log": (lambda d: (d / "rule.changes.db").unlink(), "rule.changes.db is gone, and rule-1.db has data of it"),
    "another log": (
        lambda d: shutil.copy(d / "user.changes.db", d / "rule.changes.db"),
        "rule.changes.db is not the one that rule-1.db has data of",
    ),
    "a broken key": (lambda d: (d / "keys" / "signing.pem").write_text("x"), "no signing key in"),
    "a shorter log": (lambda d: _empty(d / "rule.changes.db"), "-sync has stopped"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_broken_data_is_refused_in_one_line(data: Path, tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "run"
    shutil.copytree(data, directory)
    do, said = DAMAGES[damage]
    do(directory)
    code, line = refused(directory, free_base_port(), "--user", "1", "--rule", "2")
    assert (code, said in line) == (1, True), line


def test_a_process_that_cannot_live_stops_everything_and_shows_its_last_lines(tmp_path: Path, data: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(data, directory)
    port = free_base_port()
    broken = "import tools.embedded.plan as p; p.API_THREADS = 'none'; from tools.embedded.cli import main; main()"
    command = [sys.executable, "-c", broken, "--directory", str(directory), "--port", str(port)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "5 times before it answered" in done.stderr.splitlines()[-1]
    assert len(done.stderr.splitlines()) > 1, "nothing of its log is shown"
    assert not [number for number in ports_from(port) if ports.in_use(plan.HOST, number)]
