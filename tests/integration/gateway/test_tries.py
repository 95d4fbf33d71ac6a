"""What the gateway does when replicas refuse, hang, break off, or say that they cannot."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from services.gateway.exchange import Call
from services.gateway.replicas import Health
from tests.integration.gateway.conftest import MakeSite, Site
from tests.integration.gateway.fakes import FakeRule, item
from tests.support.proxy import Proxy
from tests.support.upstreams import Misbehave, Reply, Script, Seen, Upstream, free_url, problem, upstreams

KEY = "0b0e1c9e-0000-4000-8000-000000000001"


def ok(_seen: Seen) -> Reply:
    return Reply(200, {"ok": True})


def does(how: str) -> Script:
    return lambda _seen: Misbehave(how)


def refuses(slug: str) -> Script:
    return lambda _seen: problem(503, slug)


def once(first: Script, then: Script) -> Script:
    """The first request gets the one, all others the other."""
    scripts = [first]
    return lambda seen: (scripts.pop() if scripts else then)(seen)


def until(condition: Callable[[], bool], what: str, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"


def only(site: Site, first: int) -> None:
    """Make that replica of rule the one that is asked first: the others look DOWN until they are polled."""
    site.runtime.start()
    for number, replica in enumerate(site.runtime.replicas["rule"]):
        replica.health = Health.READY if number == first else Health.DOWN


@pytest.fixture
def two(make_site: MakeSite) -> Callable[..., Site]:
    """`two(first, second)`: replicas of rule; the first is tried first (no poll interferes)."""

    def make(first: Script, second: Script, **settings: object) -> Site:
        site = make_site(rule=[first, second], poll_ms=5000, **settings)
        only(site, 0)
        return site

    return make


def test_requests_are_spread_over_all_replicas_also_of_one_client_with_kept_connections(make_site: MakeSite) -> None:
    site = make_site(rule=[ok, ok, ok], poll_ms=5000)
    client = site.client()
    for _ in range(30):
        assert client.get("/rule").status_code == 200
    assert [len(upstream.calls) for upstream in site.rule] == [10, 10, 10]
    connections = Counter(seen.connection for upstream in site.rule for seen in upstream.seen)
    assert len(connections) == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_however_many_replicas_are_gone_at_once_the_one_that_is_left_answers(make_site: MakeSite, method: str) -> None:
    """Three of five were scaled away, and all of them seem ready still."""
    site = make_site(rule=[ok] * 5, poll_ms=5000)
    site.runtime.start()
    for gone in site.rule[:4]:
        gone.refuse()
    for number, replica in enumerate(site.runtime.replicas["rule"]):
        replica.health = Health.READY if number < 4 else Health.DOWN  # so that the one that is there comes last
    assert site.client().open("/rule", method=method, json={"name": "milk"}).status_code == 200
    assert len(site.rule[4].calls) == 1


def test_a_refused_connection_moves_any_call_to_another_replica(make_site: MakeSite) -> None:
    site = make_site(rule=[ok, ok], poll_ms=5000)
    site.runtime.start()
    site.rule[0].refuse()
    for _ in range(6):
        assert site.client().post("/rule", json={"name": "a"}).status_code == 200
    assert len(site.rule[1].calls) == 6


@pytest.mark.parametrize("how", ["break", "cut"])
@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("DELETE", {}), ("POST", {"Idempotency-Key": "k"})])
def test_a_repeatable_call_whose_connection_broke_is_repeated_elsewhere(
    two: Callable[..., Site], how: str, method: str, headers: dict[str, str]
) -> None:
    site = two(does(how), ok)
    answer = site.client().open("/rule", method=method, headers=headers)
    assert (answer.status_code, answer.json) == (200, {"ok": True})
    assert [len(upstream.calls) for upstream in site.rule] == [1, 1]


@pytest.mark.parametrize("how", ["break", "cut", "hang"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_any_other_call_is_sent_once_and_its_outcome_called_unknown(
    two: Callable[..., Site], how: str, method: str
) -> None:
    site = two(does(how), ok, write_timeout_ms=200)
    answer = site.client().open("/rule", method=method, json={"name": "a"})
    assert answer.status_code == 503
    assert answer.content_type == "application/problem+json"
    assert answer.json["type"].endswith("unconfirmed")
    assert "may have been made" in answer.json["detail"]
    assert "Retry-After" in answer.headers
    assert len(site.rule_calls) == 1


def test_a_replica_that_hangs_costs_a_bounded_time_and_another_one_answers(two: Callable[..., Site]) -> None:
    site = two(does("hang"), ok, read_timeout_ms=1500)
    began = time.monotonic()
    assert site.client().get("/rule").status_code == 200
    assert time.monotonic() - began < 1.5


def test_when_every_replica_hangs_the_answer_still_comes_in_bounded_time(two: Callable[..., Site]) -> None:
    site = two(does("hang"), does("hang"), read_timeout_ms=300)
    began = time.monotonic()
    answer = site.client().get("/rule")
    assert time.monotonic() - began < 2
    assert (answer.status_code, answer.json["type"].endswith("unavailable")) == (503, True)


@pytest.mark.parametrize("slug", ["behind", "unavailable"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_a_call_that_a_replica_did_not_execute_goes_to_another(
    two: Callable[..., Site], slug: str, method: str
) -> None:
    site = two(refuses(slug), ok)
    assert site.client().open("/rule", method=method, json={}).status_code == 200
    assert [len(upstream.calls) for upstream in site.rule] == [1, 1]


def test_behind_everywhere_is_what_the_client_gets(two: Callable[..., Site]) -> None:
    answer = two(refuses("behind"), refuses("behind")).client().post("/rule", json={})
    assert (answer.status_code, answer.json["type"].endswith("behind")) == (503, True)
    assert answer.headers["Retry-After"] == "1"


def test_a_services_own_unconfirmed_is_final(two: Callable[..., Site]) -> None:
    site = two(lambda _: problem(503, "unconfirmed", request="r1", link="/writes/r1"), ok)
    answer = site.client().post("/rule", json={}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json["request"]) == (503, "r1")
    assert len(site.rule_calls) == 1


def test_a_repeated_delete_that_finds_nothing_has_done_its_work(two: Callable[..., Site]) -> None:
    site = two(does("break"), lambda _: problem(404, "not-found"))
    answer = site.client().delete(f"/rule/{KEY}")
    assert (answer.status_code, answer.data) == (204, b"")


def test_a_delete_that_finds_nothing_at_the_first_try_is_not_found(two: Callable[..., Site]) -> None:
    assert two(lambda _: problem(404, "not-found"), ok).client().delete(f"/rule/{KEY}").status_code == 404
    refused = two(refuses("behind"), lambda _: problem(404, "not-found"))
    assert refused.client().delete(f"/rule/{KEY}").status_code == 404


def test_a_delete_that_broke_and_is_refused_elsewhere_is_not_called_unexecuted(two: Callable[..., Site]) -> None:
    answer = two(does("break"), refuses("behind")).client().delete(f"/rule/{KEY}")
    assert (answer.status_code, answer.json["type"].endswith("unconfirmed")) == (503, True)


def test_the_only_replica_gets_another_chance_when_a_connection_broke(make_site: MakeSite) -> None:
    site = make_site(rule=[once(does("break"), ok)])
    assert site.client().get("/rule").status_code == 200


def test_everything_down_is_503_with_retry_after(make_site: MakeSite) -> None:
    site = make_site(rule_urls=free_url())
    for method in ("GET", "POST"):
        answer = site.client().open("/rule", method=method, json={})
        assert answer.status_code == 503
        assert answer.json["type"].endswith("unavailable")
        assert "Retry-After" in answer.headers


def test_an_unready_replica_gets_no_calls_until_it_is_ready(make_site: MakeSite) -> None:
    site = make_site(rule=[ok, ok])
    site.rule[0].ready = False
    client = site.client()
    for _ in range(4):
        assert client.get("/rule").status_code == 200
    assert [len(upstream.calls) for upstream in site.rule] == [0, 4]
    site.rule[0].ready = True
    until(lambda: client.get("/rule").status_code == 200 and bool(site.rule[0].calls), "the ready replica to be asked")


def test_a_replica_that_comes_back_is_found_again(make_site: MakeSite) -> None:
    site = make_site(rule=[ok])
    client = site.client()
    assert client.get("/rule").status_code == 200
    site.rule[0].refuse()
    assert client.get("/rule").status_code == 503
    site.rule[0].come_back()
    until(lambda: client.get("/rule").status_code == 200, "the replica that came back")


def test_a_breaker_keeps_calls_from_a_replica_that_answers_polls_only(make_site: MakeSite) -> None:
    site = make_site(rule=[does("break"), ok], breaker_failures=2, breaker_reset_ms=60_000)
    for _ in range(20):
        assert site.client().get("/rule").status_code == 200
    assert len(site.rule[0].calls) == 2
    assert [replica.breaker.state for replica in site.runtime.replicas["rule"]] == ["open", "closed"]
    metrics = site.client().get("/metrics").text
    assert f'gateway_breaker_state{{address="{site.rule[0].url}",service="rule"}} 2.0' in metrics
    assert 'gateway_retries_total{reason="broken",service="rule"}' in metrics
    assert 'gateway_upstream_seconds_count{outcome="2xx",service="rule"}' in metrics


def test_a_name_is_resolved_again_while_the_gateway_runs(make_site: MakeSite) -> None:
    """New addresses of a name get calls without a restart, addresses that are gone get none."""
    addresses = {"127.0.0.1"}
    site = make_site(rule=[ok], rule_name="rule.test", resolver=lambda _host, _port: addresses)
    assert site.client().get("/rule").status_code == 200
    replicas = site.runtime.replicas["rule"]
    addresses = {"127.0.0.1", "127.0.0.2"}
    until(lambda: len(list(replicas)) == 2, "the second address")
    addresses = {"127.0.0.1"}
    until(lambda: [replica.url for replica in replicas] == [site.rule[0].url], "the second address to go")


def test_an_answers_connection_is_not_used_for_a_call_that_must_not_be_lost(make_site: MakeSite) -> None:
    """A server may close an idle connection at any moment; only repeatable calls risk that."""
    site = make_site(rule=[ok], poll_ms=5000)
    client = site.client()
    for method in ("GET", "POST", "GET", "POST"):
        assert client.open("/rule", method=method, json={}).status_code == 200
    connections = [seen.connection for seen in site.rule[0].seen]
    assert connections[0] == connections[2]
    assert len(set(connections)) == 3


def test_concurrent_calls_to_one_replica_do_not_wait_for_each_other(make_site: MakeSite) -> None:
    site = make_site(rule=[once(does("hang"), ok)], read_timeout_ms=3000)
    site.runtime.start()
    hanging = site.runtime.submit(site.runtime.caller.send, Call("rule", "POST", "/rule", within=2.0))
    until(lambda: bool(site.rule_calls), "the hanging call to arrive")
    began = time.monotonic()
    assert site.client().get("/rule").status_code == 200
    assert time.monotonic() - began < 1
    site.rule[0].refuse()
    with pytest.raises(Exception, match="Unconfirmed"):
        hanging.result(timeout=5)


def test_items_broken_off_in_the_middle_never_reach_the_client(two: Callable[..., Site]) -> None:
    """Answers are passed on whole: half a list is no list."""
    rule = FakeRule()
    rule.items = [item("a")]
    site = two(does("cut"), rule)
    answer = site.client().get("/rule?current=1&pageSize=20", headers=site.bearer)
    assert [row["name"] for row in json.loads(answer.data)["data"]] == ["a"]


class OneAddress:
    """Several replicas behind one address, which take turns, connection by connection: a Kubernetes Service."""

    def __init__(self, *replicas: Upstream) -> None:
        self.replicas = list(replicas)
        self._turn = itertools.count()
        self._proxy = Proxy(0, self._next)
        self.url = f"http://127.0.0.1:{self._proxy.port}"
        self.close = self._proxy.close

    def _next(self) -> tuple[str, int]:
        return "127.0.0.1", self.replicas[next(self._turn) % len(self.replicas)].port


def test_behind_one_address_too_a_new_replica_gets_its_share_within_ten_seconds(make_site: MakeSite) -> None:
    with upstreams(ok, ok) as (old, new), closing(OneAddress(old)) as address, ThreadPoolExecutor(8) as clients:
        site = make_site(rule_urls=address.url)

        def load() -> tuple[int, int]:
            """How many of 80 calls, eight at a time, each of the two replicas gets."""
            before = len(old.calls), len(new.calls)
            answers = [clients.submit(site.client().get, "/rule") for _ in range(80)]
            assert {answer.result().status_code for answer in answers} == {200}
            return len(old.calls) - before[0], len(new.calls) - before[1]

        assert load() == (80, 0)
        address.replicas.append(new)
        until(lambda: load()[1] >= 20, "a share for the new replica", 10)


@pytest.mark.parametrize("how", ["refuse", "break", "unavailable"])
def test_behind_one_address_too_a_call_is_tried_on_another_replica(make_site: MakeSite, how: str) -> None:
    with upstreams(ok, ok) as (one, other), closing(OneAddress(one, other)) as address:
        site = make_site(rule_urls=address.url, poll_ms=5000)
        client = site.client()
        assert client.get("/rule").status_code == 200
        if how == "refuse":
            one.refuse()
        else:
            one.script = does("break") if how == "break" else refuses(how)
        assert [client.get("/rule").status_code for _ in range(20)] == [200] * 20
        assert len(other.calls) >= 20
