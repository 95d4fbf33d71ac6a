"""What a person gets wrong is said in one line, by `make up` and by docker compose's own commands."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.compose import ComposeSystem, docker
from tests.support.people import Person

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def refused(system: ComposeSystem, *arguments: str) -> str:
    """The line that the command is refused with."""
    done = system.command(*arguments)
    assert done.returncode == 1, done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert line.startswith("samebase: ")
    return line


def test_a_port_that_is_taken_is_named_with_its_holder() -> None:
    system = ComposeSystem(project="samebase-e2e-port")
    with socket.create_server(("127.0.0.1", system.port + 202)):
        line = refused(system, "up")
    assert f"port {system.port + 202} (of rule-2) is taken by pid" in line
    assert "PORT=" in line
    assert system.system.containers() == {}


def test_a_system_that_does_not_run_cannot_be_scaled() -> None:
    system = ComposeSystem(project="samebase-e2e-port")
    assert "nothing runs that could be scaled: make up" in refused(system, "scale", "--rule", "4")


def test_a_password_that_a_database_does_not_know_is_said_to_be_wrong(system: ComposeSystem) -> None:
    """The secrets were lost, the data were not."""
    with without(system, "rule-3"):
        line = refused(system, "up")
        assert line.startswith("samebase: rule-3-accounts: ")
        assert "refuses the password: its data was made with another one" in line
        assert "refuses the password" in system.system.compose("logs", "rule-3-accounts")
        assert "Traceback" not in system.system.compose("logs", "rule-3-accounts")
        assert system.system.containers()["rule-3-accounts"].exit_code == 1
    system.up()


def test_a_secret_that_is_missing_is_named(system: ComposeSystem) -> None:
    with without(system, "rule-3/api/todo_database_url"):
        docker("restart", system.container("rule-3"))
        line = refused(system, "up")
        assert line == "samebase: rule-3: TODO_DATABASE_URL: Field required"
        assert "TODO_DATABASE_URL: Field required" in system.system.compose("logs", "rule-3")
    system.up()


def test_a_replica_whose_writes_are_in_no_log_is_not_removed(system: ComposeSystem, ada: Person) -> None:
    system.kill("kafka")
    written = ada.call("POST", f"{system.api('rule-3')}/rule", json={"name": "only here"})
    assert (written.status_code, written.headers["Replication"]) == (201, "pending")
    assert "rule-3 stays: 1 transactions are not in the log" in refused(system, "scale", "--rule", "2")
    system.bring_back("kafka")
    system.wait_ready()
    system.scale(rule=2)
    key = written.json()["key"]
    assert all(
        system.rows(name, f"SELECT name FROM item WHERE id = '{key}'") == [("only here",)]
        for name in ("rule-1", "rule-2")
    )
    system.scale(rule=3)


@contextmanager
def without(system: ComposeSystem, path: str) -> Iterator[None]:
    """A part of the secrets is gone."""

    def in_volume(command: str) -> None:
        volume = f"{system.project}_secrets:/secrets"
        docker("run", "--rm", "--volume", volume, "--entrypoint", "sh", "samebase-secrets:dev", "-c", command)

    in_volume(f"mv /secrets/{path} /secrets/kept")
    try:
        yield
    finally:
        in_volume(f"rm -rf /secrets/{path}; mv /secrets/kept /secrets/{path}")
