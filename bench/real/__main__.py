"""`python -m bench.real [figure ...] [--quick] [--write FILE]`: measures the figures, all of them if none is named.

Exit codes: 0 measured, 1 could not be measured, 2 wrong usage. That a target is missed is a figure, not a failure.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bench.real import acknowledged, drain, lag, memory, sustained
from bench.real.machine import describe
from bench.real.report import Figure, page, section, targets
from bench.real.servers import BenchError, missing
from bench.real.sizes import FULL, QUICK, Sizes
from bench.real.stages import pairs, trios

ON: Sequence[tuple[Callable[[Sizes], AbstractContextManager[Any]], dict[str, Any]]] = (
    (pairs, {"memory": memory, "lag": lag, "drain": drain}),
    (trios, {"sustained": sustained, "acknowledged": acknowledged}),
)
"""What stage each figure is measured on: stages one after another, each with its servers."""
NAMES = [name for _, modules in ON for name in modules]
BOUNDS = Path(__file__).with_name("bounds.md")
CORE = Path(__file__).parents[1] / "core.py"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.real", description=__doc__.partition("\n")[0])
    parser.add_argument("figures", nargs="*", metavar="figure", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small counts: shows that it works, not how fast it is")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page (needs all figures, at full size)")
    given = parser.parse_args()
    unknown = sorted(set(given.figures) - set(NAMES))
    if unknown:
        parser.error(f"there is no figure {unknown[0]}; there are {', '.join(NAMES)}")
    if given.write and (given.figures or given.quick):
        parser.error("a page is written of all figures at full size only")
    # Whoever ends it must not find the servers still running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    reason = missing()
    if reason is not None:
        sys.exit(f"bench: not measured: {reason}")
    try:
        found = _measure(given.figures or NAMES, QUICK if given.quick else FULL)
    except BenchError as error:
        sys.exit(f"bench: {error}")
    sys.stdout.write(targets(found))
    if given.write:
        core = subprocess.run([sys.executable, CORE], capture_output=True, text=True, check=True).stdout
        given.write.write_text(page(found, describe(), core, BOUNDS.read_text()))


def _measure(names: Sequence[str], sizes: Sizes) -> list[Figure]:
    found: list[Figure] = []
    for stage, modules in ON:
        chosen = [name for name in modules if name in names]
        if not chosen:
            continue
        _tell(f"starting servers for {', '.join(chosen)}")
        with stage(sizes) as servers:
            for name in chosen:
                _tell(f"measuring {name}")
                figures = modules[name].measure(servers, sizes)
                sys.stdout.write("\n".join([*map(section, figures), ""]))
                sys.stdout.flush()
                found += figures
    _tell("done")
    return found


def _tell(what: str) -> None:
    sys.stderr.write(f"bench: {time.strftime('%H:%M:%S')} {what}\n")


if __name__ == "__main__":
    main()
