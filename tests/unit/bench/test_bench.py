"""What the measurements compute and print, without any server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.real.load import key, slap
from bench.real.report import Figure, Target, page, table
from bench.real.servers import BenchError, cpu_seconds, together, until
from bench.real.sizes import FULL, QUICK
from bench.real.stats import Spread, percentile

ROOT = Path(__file__).parents[3]


def bench(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if path is None else {"PATH": path})}
    return subprocess.run(
        [sys.executable, "-m", "bench.real", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("values", "percent", "wanted"),
    [
        ([3, 1, 2], 50, 2),
        (range(1, 101), 50, 50),
        (range(1, 101), 99, 99),
        (range(1, 1001), 99.9, 999),
        ([7], 99, 7),
        ([1, 2], 0, 1),
        ([1, 2], 100, 2),
    ],
)
def test_a_percentile_is_one_of_the_values(values: list[float], percent: float, wanted: float) -> None:
    assert percentile(values, percent) == wanted


def test_a_spread_tells_the_median_and_how_far_the_others_are() -> None:
    assert Spread((2000.0, 1000.0, 1500.4)).text(0) == "1,500 (1,000 to 2,000)"
    assert Spread((2.0,)).text(2) == "2.00"


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (Target("lag", 2.9, 3.0, at_most=True), "reached"),
        (Target("lag", 4.5, 3.0, at_most=True), "missed by 50%"),
        (Target("rate", 1.2, 1.2), "reached"),
        (Target("rate", 0.6, 1.2), "missed by 50%"),
    ],
)
def test_a_target_says_whether_it_was_reached_and_by_how_much_not(target: Target, verdict: str) -> None:
    assert target.verdict == verdict
    assert target.met == (verdict == "reached")


def test_a_page_has_every_figure_with_its_command_and_every_target() -> None:
    figure = Figure("Lag", "python -m bench.real lag", "How.", ("", "ms"), [("ours", "1.5")], [Target("lag", 4, 3.0)])
    text = page([figure], [("cores", "2")], "core says\n", "What bounds it.\n")
    for part in (
        "## Lag\n\n`python -m bench.real lag`. How.\n\n|  | ms |\n| --- | ---: |\n| ours | 1.5 |\n",
        "| lag | 4.00 | at least 3 | reached |",
        "| cores | 2 |",
        "What bounds it.",
        "```\ncore says\n```",
    ):
        assert part in text
    assert table(("a",), [("1",)]) == "| a |\n| --- |\n| 1 |"


def test_what_clients_share_can_be_shared_out_evenly() -> None:
    for sizes in (FULL, QUICK):
        for count in (sizes.one_row, sizes.many_row, sizes.sustained, sizes.backlog):
            assert count % 16 == 0
    with pytest.raises(ValueError, match="17 transactions by 16 clients"):
        slap(None, 16, 17)  # type: ignore[arg-type]


def test_keys_of_paced_rows_sort_as_they_are_written() -> None:
    keys = [key("run", number) for number in (0, 9, 10, 99_999)]
    assert keys == sorted(keys)
    assert keys[0] > "run-0000000"  # where the reader begins


def test_waiting_ends_with_what_was_waited_for() -> None:
    with pytest.raises(BenchError, match="not rain"):
        until(lambda: False, "rain", 0.01, 0.001)


def test_what_is_done_together_raises_what_fails() -> None:
    assert together(lambda: 1, lambda: 2) == [1, 2]

    def fail() -> None:
        raise BenchError("no")

    with pytest.raises(BenchError, match="no"):
        together(lambda: 1, fail)


def test_processor_time_grows_with_work() -> None:
    before = cpu_seconds(os.getpid())
    deadline = time.monotonic() + 20
    while cpu_seconds(os.getpid()) < before + 0.05:
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "there is no figure nonsense; there are memory, lag, drain, sustained, acknowledged"),
        (["--quick", "--write", "x.md"], "a page is written of all figures at full size only"),
        (["lag", "--write", "x.md"], "a page is written of all figures at full size only"),
    ],
)
def test_wrong_usage_is_told_in_one_line(arguments: list[str], said: str) -> None:
    done = bench(*arguments)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"python -m bench.real: error: {said}")


def test_without_docker_it_says_so() -> None:
    done = bench("--quick", path="/nowhere")
    assert (done.returncode, done.stderr) == (1, "bench: not measured: Docker Engine is not installed\n")
