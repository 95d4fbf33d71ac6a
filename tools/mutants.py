"""Does the suite notice when a rule is removed? `python -m tools.mutants` (or `make mutants`).

Each mutant is one small edit of a copy of the core, or of the model of its caller where the rule is the caller's. The
scenarios and unit tests of the core run against the copy, and then random schedules. At least one must fail. Prints
what noticed each mutant; exit code 1 if one survives, or if an edit does not apply any more.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SCHEDULES = 150
PATIENCE = 60
HANGS = "KILLED 0 by patience"
ADMISSION, CERTIFY, PENDING, POLICY, REPLICA, SNAPSHOT, TYPES, VIEW, CALLER = (
    "samebase/core/admission.py",
    "samebase/core/certify.py",
    "samebase/core/pending.py",
    "samebase/core/policy.py",
    "samebase/core/replica.py",
    "samebase/core/snapshot.py",
    "samebase/core/types.py",
    "samebase/core/view.py",
    "tests/support/cluster.py",
)


class Mutant(NamedTuple):
    """An edit: each `old` occurs exactly once in the file and is replaced by `new`."""

    rule: str
    what: str
    file: str
    edits: tuple[tuple[str, str], ...]


def edit(rule: str, what: str, file: str, *edits: str) -> Mutant:
    return Mutant(rule, what, file, tuple(zip(edits[::2], edits[1::2], strict=True)))


MUTANTS = (
    edit("1 prev", "a later entry counts", ADMISSION, "if header.prev != have:", "if header.seq <= have:"),
    edit("1 prev", "duplicates count", ADMISSION, "if header.prev != have:", "if header.prev > have:"),
    edit("1 prev", "no gap is seen", ADMISSION, "header.prev > have and not rereading", "False"),
    edit("1 prev", "no publishing again on a gap", CALLER, "if write.gap is not None and", "if False and"),
    edit("2 base rows", "they are not stored", REPLICA, "base_puts=tuple(bases.puts.items())", "base_puts=()"),
    edit("2 base rows", "they are never removed", REPLICA, "base_deletes=tuple(bases.deletes)", "base_deletes=()"),
    edit(
        "2 base rows",
        "the first batch judges no pending one",
        REPLICA,
        "if self._fresh:\n            # R2",
        "if False:\n            # R2",
    ),
    edit(
        "2 base rows",
        "a start consumes before it captures",
        CALLER,
        "self._capture(None)\n        self.outbox = [",
        "self.outbox = [",
    ),
    edit(
        "3 concerned",
        "no closure over keys",
        REPLICA,
        "                    rows[change.id] = None\n"
        "                    frontier += self._pending.certified_on(change.id)",
        "                    rows[change.id] = None",
    ),
    edit(
        "3 concerned",
        "no closure over unique values",
        REPLICA,
        "                    uniques[unique] = None\n"
        "                    frontier += self._pending.certified_on_unique(unique)",
        "                    uniques[unique] = None",
    ),
    edit(
        "3 concerned",
        "own echoes concern",
        REPLICA,
        "if transaction.origin != self.origin or not self._complete(transaction):",
        "if True:",
    ),
    edit(
        "3 barrier",
        "nothing is captured under the locks",
        CALLER,
        "            self._capture(None)\n            concerned =",
        "            concerned =",
    ),
    edit(
        "4 unique values",
        "values being freed concern nobody",
        POLICY,
        "for row in (change.before, change.after):",
        "for row in (change.after,):",
    ),
    edit(
        "4 unique values",
        "base rows hold none",
        REPLICA,
        "touched = self._pending.base_holder(unique)",
        "touched = None",
    ),
    edit(
        "4 unique values",
        "a touched holder counts",
        REPLICA,
        "return None if holder is None or self._pending.touches((unique[0], holder)) else holder",
        "return holder",
    ),
    edit(
        "4 unique values",
        "they are not locked",
        CALLER,
        "self.locked.update(concerned.uniques)",
        "pass",
        "                    self.locked.add(id)\n",
        "",
    ),
    edit(
        "5 order of writing",
        "changed unique values are updated in place",
        REPLICA,
        "if policy.unique and unique_ids(table, policy, is_now)",
        "if False and unique_ids(table, policy, is_now)",
    ),
    edit(
        "5 order of writing",
        "deletes come last",
        CALLER,
        "        for id in write.deletes:\n",
        "        for id in ():\n",
        "        base = dict(self.state.base)\n",
        "        for id in write.deletes:\n            del rows[id]\n        base = dict(self.state.base)\n",
    ),
    edit(
        "6 fence",
        "any process writes",
        CALLER,
        "if self.state.offset != was_offset:",
        "if False:",
        'assert write.was_offset == self.state.offset, "a Write got past the fence"',
        "pass",
    ),
    edit(
        "6 fence",
        "what is settled goes back",
        CALLER,
        "max(self.state.settled, write.settled)",
        "write.settled",
    ),
    edit(
        "7 parts",
        "any part continues",
        ADMISSION,
        "(held.seq, held.total, len(held.changes)) != (header.seq, part.total, part.start)",
        "(held.seq, held.total) != (header.seq, part.total)",
    ),
    edit(
        "7 parts",
        "start 0 does not begin anew",
        ADMISSION,
        "if part.start == 0:",
        "if part.start == 0 and held is None:",
    ),
    edit(
        "7 parts",
        "nothing is read again",
        TYPES,
        "return min([self.offset, *(begun for begun in self.held.values() if self.offset - begun <= PARTS_SPAN)])",
        "return self.offset",
    ),
    edit(
        "7 parts",
        "an abandoned transaction is read again for ever",
        TYPES,
        " if self.offset - begun <= PARTS_SPAN",
        "",
    ),
    edit(
        "7 parts",
        "a part counts however late it comes",
        ADMISSION,
        "if held is None or _expired(held.offset, place):",
        "if held is None:",
    ),
    edit(
        "7 parts",
        "abandoned parts are held for ever",
        ADMISSION,
        "if origin not in held and _expired(begun, offset):",
        "if False:",
    ),
    edit(
        "7 parts",
        "one reread offset for all origins",
        ADMISSION,
        "place < self.unfinished.get(origin, self.offset)",
        "place < min([self.offset, *self.unfinished.values()])",
    ),
    edit(
        "7 parts",
        "whole entries count when they are read again",
        ADMISSION,
        "            elif rereading:\n                continue\n",
        "",
        '            if rereading:\n                raise Diverged(f"log entry {place} finishes a transaction that was '
        'unfinished at offset {self.offset}")\n',
        "",
        "if rereading and place < self.unfinished.get(origin, self.offset):",
        "if rereading and place < min([self.offset, *self.unfinished.values()]):",
    ),
    edit(
        "7 parts",
        "a snapshot names only what was read again",
        REPLICA,
        "applied=dict(admission.applied), held=dict(admission.unfinished)",
        "applied=dict(admission.applied), held={origin: part.offset for origin, part in admission.held.items()}",
    ),
    edit(
        "8 absent rows",
        "only rows that exist are locked",
        CALLER,
        "self.locked.update(concerned.rows)",
        "self.locked.update(id for id in concerned.rows if id in self.rows)",
        "self.locked.update(concerned.uniques)",
        "pass",
    ),
    edit(
        "9 columns",
        "a missing column is lost",
        POLICY,
        "return {**(defaults if row is None else row), **after}",
        "return {**after}",
    ),
    edit(
        "9 columns",
        "missing columns are compared",
        CERTIFY,
        "return row != before and any(row[column] != value for column, value in before.items())",
        "return row != before",
    ),
    edit("9 columns", "no entry waits for a migration", ADMISSION, "if origin != self.origin:", "if False:"),
    edit(
        "9 columns",
        "an echo from before a migration concerns nothing",
        REPLICA,
        " or not self._complete(transaction):",
        ":",
    ),
    edit(
        "10 runtime check", "it is off", REPLICA, "if not touched:\n            return", "if True:\n            return"
    ),
    edit(
        "convergence",
        "doomed ones are shown",
        REPLICA,
        "                if conflict is None:\n                    view.apply(transaction.changes)\n            else:",
        "                view.apply(transaction.changes)\n            else:",
    ),
    edit(
        "invariant",
        "what was settled is replayed again",
        REPLICA,
        "self._replay(shown, scope, after=last_settled)",
        "self._replay(shown, scope, after=0)",
    ),
    edit(
        "determinism",
        "an own echo is always accepted",
        REPLICA,
        "conflict = self._pending.doomed.get(transaction.seq)",
        "conflict = None",
    ),
    edit(
        "determinism",
        "a snapshot shows what is pending",
        SNAPSHOT,
        "yield _overlaid(chunk, touched, schema[chunk.table].policy.key) if touched else chunk",
        "yield chunk",
    ),
    edit(
        "idempotence",
        "a decision stands although a commit was captured since",
        REPLICA,
        "        self._decided = None  # It knew",
        "        # It knew",
    ),
    edit(
        "atomicity",
        "a rejected transaction's merge changes stay",
        REPLICA,
        "                lost = transaction.changes if own else ()\n",
        "                lost = transaction.changes if own else ()\n"
        "                log_state.apply([change for change in transaction.changes if not change.policy.strict])\n",
    ),
    edit(
        "atomicity",
        "parts are applied as they come",
        ADMISSION,
        "if len(joined.changes) < joined.total:",
        "if False:",
    ),
    edit(
        "no echo",
        "an echo puts its row back",
        REPLICA,
        "deletes, puts = self._difference(shown, scope, rows)\n"
        "        bases = self._bases(log_state, settled, last_settled)",
        "deletes, puts = self._difference(shown, scope, rows)\n"
        "        puts += tuple(Put(c.id, c.after, c.after) for t in settled for c in t.changes if c.after)\n"
        "        bases = self._bases(log_state, settled, last_settled)",
    ),
    edit(
        "policy merge",
        "an update sets unchanged columns",
        POLICY,
        "if column not in counted and value != before[column]:",
        "if column not in counted:",
    ),
    edit(
        "policy merge",
        "what is gone is not recorded",
        VIEW,
        "if new is None and change.after is not None:",
        "if False:",
    ),
    edit(
        "policy delta",
        "counters are set",
        POLICY,
        "counted = {delta.column for delta in deltas}",
        "counted, deltas = set(), ()",
    ),
    edit(
        "policy delta",
        "no saturation",
        POLICY,
        "min(max(_added(row[column], before[column], after[column]), low), high)",
        "_added(row[column], before[column], after[column])",
    ),
    edit("policy strict", "a changed row is no conflict", CERTIFY, "elif differs(row, change.before):", "elif False:"),
    edit(
        "policy strict",
        "an existing row is no conflict",
        CERTIFY,
        "            if row is not None:\n",
        "            if False:\n",
    ),
    edit("policy strict", "nothing is freed before it is taken", CERTIFY, "if unique not in freed and", "if"),
    edit("policy strict", "intent rows ask in vain", CERTIFY, "if transaction.certify_all:", "if False:"),
)

RANDOM = f"""
import sys
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.unit.core.test_cluster import SETTINGS, ClusterMachine
begun = 0
class Counting(ClusterMachine):
    def __init__(self):
        global begun
        begun += 1
        super().__init__()
try:
    run_state_machine_as_test(Counting, settings=settings(
        SETTINGS, max_examples={SCHEDULES}, database=None, phases=[Phase.generate], report_multiple_bugs=False))
except BaseException as error:
    print("KILLED", begun, type(error).__name__)
"""


def run(command: Sequence[str], folder: Path) -> str:
    """What a command prints. One that does not come to an end is stopped: a mutant may go round in circles."""
    try:
        done = subprocess.run(
            [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return HANGS
    return done.stdout + done.stderr


def judge(mutant: Mutant | None) -> tuple[bool, str]:
    """Whether the suite notices a mutant (None: the original), and what does."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        for part in ("samebase/core", "tests/unit/core", "tests/support", "tests/scenarios"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        for package in ("samebase", "tests", "tests/unit"):
            (folder / package / "__init__.py").touch()
        shutil.copy(ROOT / "pyproject.toml", folder)
        if mutant is not None:
            path = folder / mutant.file
            text = path.read_text()
            for old, new in mutant.edits:
                if text.count(old) != 1:
                    return False, f"the edit does not apply any more: {old.strip()[:60]!r}"
                text = text.replace(old, new)
            path.write_text(text)
        where = run(["-c", "import samebase.core.replica as core; print(core.__file__)"], folder)
        if not where.startswith(str(folder.resolve())) and not where.startswith(str(folder)):
            return False, f"the copy is not what is tested, but {where.strip()}"
        files = [f"tests/unit/core/test_{name}.py" for name in ("scenarios", "replica")]
        output = run(["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=no", *files], folder)
        if output == HANGS:
            return True, "a scenario that does not end"
        found = re.findall(r"^(?:FAILED|ERROR) \S*?::(\S+)", output, re.MULTILINE)
        noticed = [re.sub(r"^test_the_story_ends_as_it_is_told\[(.*)\]$", r"\1", test) for test in found]
        killed = re.search(r"KILLED (\d+) (\w+)", run(["-c", RANDOM], folder))
        if killed:
            noticed.append(f"random schedule {killed[1]}" if killed[1] != "0" else "a schedule that does not end")
        if not noticed and " passed" not in output:
            return False, output[-300:]
        return bool(noticed), ", ".join(noticed)


def main() -> None:
    began = time.monotonic()
    noticed, why = judge(None)
    if noticed or why:
        sys.exit(f"the suite fails without any mutant: {why}")
    survivors = 0
    with ThreadPoolExecutor(2) as pool:
        for mutant, (killed, by) in zip(MUTANTS, pool.map(judge, MUTANTS), strict=True):
            survivors += not killed
            label = f"{mutant.rule}: {mutant.what}"
            print(
                f"{time.monotonic() - began:4.0f} s  {label:68} {'killed by' if killed else 'SURVIVES'} {by}",
                flush=True,
            )
    print(f"{len(MUTANTS)} mutants, {survivors} survive, {time.monotonic() - began:.0f} s")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
