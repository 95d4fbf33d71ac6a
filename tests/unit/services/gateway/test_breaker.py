"""A circuit breaker that does not hold a lock during the call."""

from __future__ import annotations

from services.gateway.breaker import Breaker


def failing(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.admit()
        breaker.failed()


def test_it_opens_after_failures_in_a_row_and_lets_nothing_through() -> None:
    breaker = Breaker("a", fail_max=3, reset_seconds=60)
    failing(breaker, 3)
    assert breaker.state == "open"
    assert not breaker.admit()


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker("a", fail_max=3, reset_seconds=60)
    failing(breaker, 2)
    breaker.succeeded()
    failing(breaker, 2)
    assert breaker.state == "closed"


def test_after_the_rest_exactly_one_trial_is_admitted_and_its_success_closes() -> None:
    breaker = Breaker("a", fail_max=1, reset_seconds=0)
    failing(breaker, 1)
    assert breaker.admit()
    assert not breaker.admit()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.admit()


def test_a_trial_that_fails_opens_it_again() -> None:
    breaker = Breaker("a", fail_max=1, reset_seconds=0)
    failing(breaker, 1)
    failing(breaker, 1)
    assert breaker.state == "open"


def test_calls_under_way_when_it_opens_do_not_change_it() -> None:
    breaker = Breaker("a", fail_max=1, reset_seconds=60)
    assert breaker.admit()
    assert breaker.admit()
    breaker.failed()
    breaker.succeeded()
    assert breaker.state == "open"
