"""The accounts of a replica, with no more rights than they need."""

from __future__ import annotations

from contextlib import closing

import pymysql
from pymysql.converters import escape_string

from samebase.core.errors import Stop
from samebase.mysql.connection import Address, execute, quoted, settings, translated
from samebase.mysql.install import SCHEMA

SYNC_GLOBAL = "REPLICATION SLAVE, REPLICATION CLIENT, SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN"
"""To read the binary log, to ask where it ends, to write without writing to it (sql_log_bin = 0), to make the server
read_only when too much is pending, and to write all the same."""

_ACCESS_DENIED = 1045


def make(admin: Address, api: tuple[str, str], sync: tuple[str, str], migrate: tuple[str, str]) -> None:
    """Make the accounts on the server, unlogged; those that are there get these passwords.

    Args:
        admin: an account that may make others; its database is the service's, which need not be there yet.
        api, sync, migrate: user and password.

    Raises Unavailable or Stop.
    """
    with translated(f"connecting to {admin}"):
        try:
            connection = pymysql.connect(**settings(admin), autocommit=True)
        except pymysql.OperationalError as error:
            if error.args[0] != _ACCESS_DENIED:
                raise
            raise Stop(
                f"{admin} refuses the password: its data was made with another one; set that one, or remove the data "
                "to begin as a new replica"
            ) from error
    with closing(connection), translated("making the accounts"):
        execute(connection, "SET SESSION sql_log_bin = 0")
        for statement in statements(admin.database, api, sync, migrate):
            execute(connection, statement)


def statements(
    database: str, api: tuple[str, str], sync: tuple[str, str], migrate: tuple[str, str] | None = None, host: str = "%"
) -> list[str]:
    """The statements that create the accounts of a replica; run them on its own server, unlogged or before it is one.

    Args:
        database: the service's database.
        api: user and password of the service, which reads and writes rows.
        sync: user and password of the sync process.
        migrate: user and password of the migrations, which change tables; None if they use another account.
        host: where they connect from.
    """
    rows = f"{quoted(database)}.*"
    created = [
        f"CREATE SCHEMA IF NOT EXISTS {quoted(database)}",
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
        *_account(
            api,
            host,
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {rows}",
            # A privilege on one table is given before the table is there only together with CREATE: so on the schema.
            f"GRANT INSERT ON {SCHEMA}.*",
        ),
        *_account(
            sync,
            host,
            f"GRANT {SYNC_GLOBAL} ON *.*",
            f"GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON {rows}",
            f"GRANT ALL ON {SCHEMA}.*",
        ),
    ]
    if migrate is not None:
        created += _account(migrate, host, f"GRANT ALL ON {rows}")
    return created


def _account(account: tuple[str, str], host: str, *grants: str) -> list[str]:
    user, password = account
    who = f"'{escape_string(user)}'@'{escape_string(host)}'"
    return [
        f"CREATE USER IF NOT EXISTS {who} IDENTIFIED BY '{escape_string(password)}'",
        f"ALTER USER {who} IDENTIFIED BY '{escape_string(password)}'",
        *(f"{grant} TO {who}" for grant in grants),
    ]
