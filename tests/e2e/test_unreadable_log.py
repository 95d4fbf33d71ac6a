"""An entry that cannot be read stops every replica loudly; nothing is skipped."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.support.people import Person, call
from tests.support.replicas import wait_for
from tests.support.system import System, answers


def test_an_unreadable_entry_stops_every_sync_and_the_callers_are_told(tmp_path: Path) -> None:
    with System(tmp_path / "run", user=1, rule=2) as system:
        ada = Person(system.gateway)
        made = ada.call("POST", f"{system.gateway}/rule", json={"name": "before"})
        assert made.status_code == 201
        system.compare_replicas()
        offset = system.log_end("rule")
        with closing(sqlite3.connect(system.log_database("rule"), timeout=10)) as log, log:
            log.execute("INSERT INTO entries VALUES (?, ?)", (offset, b"not one of ours"))

        for replica in system.replicas("rule"):
            wait_for(lambda r=replica: system.status(r)["state"] == "stopped", f"{replica}'s sync stops")  # type: ignore[misc]
            status = system.status(replica)
            assert str(offset) in status["reason"]
            assert status["offset"] == offset, "what stands before it was applied"
            sync_ready = call("GET", f"{system.sync(replica)}/readyz")
            api_ready = call("GET", f"{system.api(replica)}/readyz")
            for ready in (sync_ready, api_ready):
                assert ready.status_code == 503
                assert str(offset) in ready.json()["reason"]
            assert call("GET", f"{system.api(replica)}/healthz").status_code == 200

        wait_for(lambda: answers_503(system, ada), "the gateway sees that no replica of rule is ready")
        refused = ada.call("POST", f"{system.gateway}/rule", json={"name": "after"})
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["type"].endswith(":unavailable")
        page = call("GET", f"{system.gateway}/api/rule", cookies={"jwtToken": ada.access})
        assert (page.status_code, page.json()["success"]) == (200, False)
        # The other service goes on.
        assert ada.call("GET", f"{system.gateway}/user/me").status_code == 200
        wait_for(lambda: "rule-1-sync is not ready: stopped" in system.said(), "whoever ran make run is told")

        # Who starts it again is told the same, and nothing was skipped meanwhile.
        port = system.port
    with System(tmp_path / "run", user=1, rule=2, port=port, ready=False) as again:
        assert again.supervisor.wait(90) == 1
        assert "-sync has stopped" in again.said().splitlines()[-1]
        assert str(offset) in again.said().splitlines()[-1]

    # A person puts it right: here, by taking out what does not belong there.
    with closing(sqlite3.connect(again.log_database("rule"), timeout=10)) as log, log:
        log.execute("DELETE FROM entries WHERE offset = ?", (offset,))
    with System(tmp_path / "run", user=1, rule=2, port=port) as system:
        ada.sign_in(system.gateway)
        assert ada.call("GET", f"{system.gateway}/rule").json()["total"] == 1
        assert answers(f"{system.gateway}/readyz")
        system.compare_replicas()


def answers_503(system: System, person: Person) -> bool:
    """Whether a list of items is refused by now."""
    return person.call("GET", f"{system.gateway}/rule").status_code == 503
