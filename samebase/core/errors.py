"""What can go wrong, and who must act.

SamebaseError
├── Rejected inputs: the caller is wrong, nothing happened
│   └── Misuse              a call out of order, or with values that make no sense
├── Stop: a person must look; the replica halts, unready, and says why
│   ├── Unusable            a setting cannot be used, or what it names: server, account, table, topic
│   ├── Unreadable          a log entry is not what the wire format says (names its offset)
│   ├── Diverged            this database is not the one that wrote the log's entries, or its rows
│   │                       are not what the log and the pending transactions make of them
│   └── LogLost             the log is another one, or no longer reaches back to our offset
├── Pause: waits for a migration, then goes on by itself
│   └── SchemaBehind        an entry names a table or a column that this replica does not have (yet),
│                           or other unique indexes than it has
└── Restart: throw the core away, read the state again, go on
    ├── Fenced              another process moved the stored offset
    └── Unavailable         database or log do not answer for now
        ├── Busy            a lock could not be had: the same again may succeed at once
        └── UnknownHost     their host's name means nothing (yet)
"""


class SamebaseError(Exception):
    """The root of all errors that samebase raises on purpose."""


class Misuse(SamebaseError):
    """A call that the documented order or types do not allow."""


class Stop(SamebaseError):
    """Nothing but a person can help: the replica halts and says why."""


class Unusable(Stop):
    """A setting cannot be used, or what it names. The message begins with the setting."""


class Unreadable(Stop):
    """A log entry cannot be decoded. `offset` is its place."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(f"log entry {offset} cannot be read: {why}")
        self.offset = offset


class TooLarge(Stop):
    """A committed row does not fit into one log record, so this replica can never publish it."""


class Diverged(Stop):
    """The database and the log contradict each other."""


class LogLost(Stop):
    """The log was replaced or cut off behind our offset."""


class Pause(SamebaseError):
    """Wait: the cause goes away without anything being lost or skipped."""


class SchemaBehind(Pause):
    """An entry needs a schema that this replica does not have. `offset` is its place."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(f"log entry {offset} waits for a migration: {why}")
        self.offset = offset


class Restart(SamebaseError):
    """Throw the core away, load the stored state and begin again."""


class Fenced(Restart):
    """The stored offset is not the one this core started from: another process works on the database."""


class Unavailable(Restart):
    """The database or the log does not answer for now."""


class Busy(Unavailable):
    """The database took back the transaction because of locks: the same again may succeed at once."""


class UnknownHost(Unavailable):
    """A host's name does not resolve: it may be wrong, or not be there yet."""
