"""Whose turn it is, and names that resolve to many addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from services.gateway.breaker import Breaker
from services.gateway.replicas import Health, Replica, Replicas


def breaker(url: str) -> Breaker:
    return Breaker(url, fail_max=1, reset_seconds=60)


def replicas(*health: Health) -> Replicas:
    found = Replicas("rule", [f"http://10.0.0.{n}:80" for n in range(len(health))], breaker)
    found.refresh()
    for replica, state in zip(found, health, strict=True):
        replica.health = state
    return found


def chosen(found: Replicas, tried: Sequence[Replica] = (), again: bool = False) -> str | None:
    with found.borrow(tried, again) as replica:
        return replica and replica.url


def test_equal_replicas_take_turns() -> None:
    found = replicas(*[Health.READY] * 3)
    assert set(Counter(chosen(found) for _ in range(30)).values()) == {10}


def test_the_one_with_the_fewest_calls_under_way_is_next() -> None:
    found = replicas(Health.READY, Health.READY)
    with found.borrow(()) as busy:
        assert busy is not None
        assert {chosen(found) for _ in range(4)} == {replica.url for replica in found} - {busy.url}


def test_a_replica_that_is_down_is_a_last_resort_and_an_unready_one_is_none() -> None:
    found = replicas(Health.READY, Health.DOWN, Health.UNREADY)
    ready, down, _ = found
    assert chosen(found) == ready.url
    assert chosen(found, [ready]) == down.url
    assert chosen(found, [ready, down]) is None


def test_an_open_breaker_keeps_calls_away() -> None:
    found = replicas(Health.READY, Health.READY)
    first, second = found
    assert first.breaker.admit()
    first.breaker.failed()
    assert {chosen(found) for _ in range(4)} == {second.url}


def test_when_all_were_tried_only_again_gives_one() -> None:
    found = replicas(Health.READY, Health.READY)
    assert chosen(found, list(found)) is None
    assert chosen(found, list(found), again=True) is not None


def test_an_only_address_is_tried_again_for_it_may_be_several_replicas() -> None:
    (only,) = found = replicas(Health.READY)
    assert chosen(found, [only]) == only.url
    only.health = Health.UNREADY
    assert chosen(found, [only]) is None


def test_a_name_stands_for_all_its_addresses_and_follows_them() -> None:
    addresses = {"rule": {"10.0.0.1", "10.0.0.2"}}

    def resolver(host: str, _port: int) -> set[str]:
        return addresses[host]

    found = Replicas("rule", ["http://rule:8000"], breaker, resolver)
    found.refresh()
    assert {r.url for r in found} == {"http://10.0.0.1:8000", "http://10.0.0.2:8000"}
    kept = next(r for r in found if "0.2" in r.url)
    addresses["rule"] = {"10.0.0.2", "fd00::3"}
    found.refresh()
    assert {r.url for r in found} == {"http://10.0.0.2:8000", "http://[fd00::3]:8000"}
    assert kept in list(found)


def test_a_name_that_does_not_resolve_for_now_keeps_its_addresses() -> None:
    answers = [{"10.0.0.1"}]

    def resolver(_host: str, _port: int) -> set[str]:
        if answers:
            return answers.pop()
        raise OSError("no answer")

    found = Replicas("rule", ["http://rule"], breaker, resolver)
    found.refresh()
    found.refresh()
    assert [r.url for r in found] == ["http://10.0.0.1:80"]
