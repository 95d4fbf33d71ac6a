"""docker compose: what people do with the system of containers, and what must hold while they do it."""

from __future__ import annotations

import pytest

from tests.support.compose import ComposeSystem
from tests.support.load import Load
from tests.support.people import Person, call
from tests.support.readme import assert_session_prints_what_readme_says
from tests.support.replicas import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.slow]

ENOUGH = 40
"""Answered writes before, while and after something happens."""
MEMORY_MIB = 4096
SHARE_SECONDS = 10.0
KILLED = [
    "gateway",
    "kafka",
    *(f"{replica}{part}" for replica in ("rule-1", "user-1") for part in ("", "-sync", "-mysql")),
]


@pytest.fixture(scope="module")
def people(shared_system: ComposeSystem) -> list[Person]:
    return [Person(shared_system.gateway) for _ in range(4)]


def test_readmes_session_prints_what_readme_says(system: ComposeSystem) -> None:
    assert_session_prints_what_readme_says(system.port)
    system.compare_replicas()


def test_what_is_written_on_one_replica_is_read_on_another(system: ComposeSystem, ada: Person) -> None:
    for number in range(20):
        made = ada.call("POST", f"{system.api('rule-1')}/rule", token=ada.token, json={"name": f"item {number}"})
        assert made.status_code == 201, made.text
        read = ada.call("GET", f"{system.api('rule-3')}{made.headers['Location']}", made.headers["X-Replica-Token"])
        assert (read.status_code, read.json()["name"]) == (200, f"item {number}")
        assert "X-Replica-Stale" not in read.headers


def test_all_of_it_fits_into_the_memory_that_readme_names(system: ComposeSystem) -> None:
    assert system.memory_mib() < MEMORY_MIB


@pytest.mark.parametrize("service", KILLED)
def test_no_answered_write_is_lost_when_a_container_is_killed(
    system: ComposeSystem, people: list[Person], service: str
) -> None:
    load = Load(system.gateway)
    with load.going(people):
        more(load)
        system.kill(service)
        if service not in {"gateway", "kafka"}:  # the other replicas go on
            more(load)
        system.bring_back(service)
        more(load)
    assert_all_is_there(system, load)


def test_more_replicas_and_fewer_under_load_without_a_failed_read_or_a_lost_write(
    system: ComposeSystem, people: list[Person]
) -> None:
    load = Load(system.gateway)
    writers, readers = people[:2], people[:2]
    with load.going(writers, readers):
        more(load)
        system.scale(rule=5)
        served = {name: requests_of(system, name) for name in ("rule-4", "rule-5")}
        wait_for(
            lambda: all(requests_of(system, name) >= before + 20 for name, before in served.items()),
            "the new replicas have their share",
            SHARE_SECONDS,
        )
        more(load)
        system.scale(rule=2)
        more(load)
    assert load.failed_reads == []
    assert load.refused == []
    assert load.reads > 100
    assert_all_is_there(system, load)
    system.scale(rule=3)
    system.wait_ready()
    assert_all_is_there(system, load)


def test_everything_is_there_after_a_cold_start_from_its_volumes(system: ComposeSystem, people: list[Person]) -> None:
    load = Load(system.gateway)
    with load.going(people):
        more(load)
    system.down()
    seconds = system.up()
    print(f"\nup to ready, with the data of before: {seconds:.0f} s")
    assert_all_is_there(system, load)
    again = people[0].sign_in(system.gateway)
    assert again.status_code == 200


def more(load: Load) -> None:
    """Until more writes were answered."""
    goal = load.answered + ENOUGH
    wait_for(lambda: load.answered >= goal, "more writes are answered", 60)


def assert_all_is_there(system: ComposeSystem, load: Load) -> None:
    """Every replica has what was answered, and all have the same."""
    system.wait_ready()
    system.compare_replicas()
    load.assert_nothing_lost(system.rows, {service: system.replicas(service) for service in ("user", "rule")})


def requests_of(system: ComposeSystem, replica: str) -> int:
    """How many requests for items its api has answered."""
    lines = call("GET", f"{system.api(replica)}/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if "_count{" in line and 'route="/rule' in line)
