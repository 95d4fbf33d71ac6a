"""The services run on MySQL and Kafka unchanged, by URL: two replicas, each with its own server."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from flask.testing import FlaskClient

from services.common.migrations import migrate
from services.rule.app import create_app as create_rule
from services.rule.config import RuleSettings
from services.user.app import create_app as create_user
from services.user.config import UserSettings
from tests.integration.sync.test_command_line import command, free_port
from tests.support.kafka import Broker, shared_broker
from tests.support.mysql import Server
from tests.support.replicas import wait_for
from tests.support.services import CHEAP_HASHER, SERVICES, access_token, settings_of

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def broker() -> Broker:
    return shared_broker()


@dataclass
class Replica:
    """One replica: its api in this process, its sync process, its server."""

    client: Callable[[], FlaskClient]
    sync: str
    server: Server
    schema: str

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        with closing(self.server.session(self.schema)) as session, session.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table} ORDER BY 1")
            return list(cursor.fetchall())


@pytest.fixture(params=["rule", "user"])
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def replicas(service: str, servers: list[Server], broker: Broker, tmp_path: Path) -> Iterator[list[Replica]]:
    topic = f"{service}.changes-{uuid4()}"
    made: list[Replica] = []
    with ExitStack() as stack:
        for number, running in enumerate(servers, 1):
            running.fresh(database=service)
            address = running.address(service)
            url = f"{address.user}:{address.password}@{address.host}:{address.port}/{service}"
            migrate(f"mysql+pymysql://{url}", SERVICES / service / "migrations")
            listen = f"127.0.0.1:{free_port()}"
            environment = {
                "SAMEBASE_NAME": f"{service}-{number}",
                "SAMEBASE_DATABASE": f"mysql://{url}",
                "SAMEBASE_LOG": f"kafka://{broker.bootstrap}/{topic}",
                "SAMEBASE_TABLES": str(SERVICES / service / "samebase.toml"),
                "SAMEBASE_LISTEN": listen,
            }
            lines = stack.enter_context((tmp_path / f"sync-{number}.log").open("wb"))
            process = subprocess.Popen(command("run"), env=os.environ | environment, stderr=lines)
            stack.callback(_end, process)
            sync = f"http://{listen}"
            values = settings_of(service, tmp_path, database_url=f"mysql+pymysql://{url}", sync_url=sync)
            app = (
                create_rule(RuleSettings(**values))
                if service == "rule"
                else create_user(UserSettings(**values), hasher=CHEAP_HASHER)
            )
            made.append(Replica(lambda app=app: app.test_client(use_cookies=False), sync, running, service))
        for replica in made:
            wait_for(lambda replica=replica: _state(replica.sync)["state"] == "ready", f"{replica.sync} is ready")
        yield made


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert code == 0, f"a sync process ended with {code}"


def _state(sync: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = requests.get(f"{sync}/status", timeout=5).json()
    except requests.ConnectionError:
        return {"state": "unreachable"}
    return answer


def _assert_identical(replicas: list[Replica], *tables: str) -> None:
    def settled() -> bool:
        for replica in replicas:
            requests.get(f"{replica.sync}/wait?request=none&timeout=0", timeout=5)
        states = [_state(replica.sync) for replica in replicas]
        return all(state["pending"] == 0 for state in states) and (
            len({state["offset"] for state in states} | {state["log_end"] for state in states}) == 1
        )

    wait_for(settled, "all replicas are at one offset with nothing pending")
    for table in tables:
        assert replicas[0].rows(table) == replicas[1].rows(table)


@pytest.mark.parametrize("service", ["rule"], indirect=True)
def test_items_written_on_two_replicas_are_the_same_on_both(replicas: list[Replica]) -> None:
    me = access_token()
    first, second = replicas

    added = first.client().post("/rule", json={"name": "buy milk 🥛 ", "desc": "trailing spaces  "}, headers=me)
    assert added.status_code == 201, added.text
    assert added.headers["Replication"] == "log"
    key = added.get_json()["key"]
    covered = me | {"X-Replica-Token": added.headers["X-Replica-Token"]}
    read = second.client().get(f"/rule/{key}", headers=covered)
    assert read.status_code == 200, read.text
    assert read.get_json() == added.get_json()
    assert read.headers["ETag"] == added.headers["ETag"]
    assert "X-Replica-Stale" not in read.headers

    def done(number: int) -> int:
        return replicas[number % 2].client().patch(f"/rule/{key}", json={"status": 2}, headers=covered).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(done, range(40))) == [200] * 40
    _assert_identical(replicas, "item", "idempotency")
    assert first.client().get(f"/rule/{key}", headers=me).get_json()["callNo"] == 40

    tag = first.client().get(f"/rule/{key}", headers=me).headers["ETag"]
    certified = me | {"If-Match": tag}
    with ThreadPoolExecutor(2) as pool:
        edits = list(
            pool.map(
                lambda replica: (
                    replica.client().patch(f"/rule/{key}", json={"progress": 50}, headers=certified).status_code
                ),
                replicas,
            )
        )
    assert sorted(edits) in ([200, 412], [412, 412]), "of two conditional edits at most one holds"
    _assert_identical(replicas, "item")


@pytest.mark.parametrize("service", ["user"], indirect=True)
def test_of_many_registrations_of_one_name_on_two_replicas_one_succeeds(replicas: list[Replica]) -> None:
    body = {"name": "Ada", "password": "correct horse battery"}

    def register(number: int) -> int:
        return replicas[number % 2].client().post("/user", json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(register, range(20)))
    assert codes == [201] + [409] * 19
    _assert_identical(replicas, "account")
    assert len(replicas[0].rows("account")) == 1
