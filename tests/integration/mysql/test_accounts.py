"""`samebase accounts` on a real server: made, made again with other passwords, refused in one line."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from typing import Any

import pymysql
import pytest

from tests.integration.sync.test_command_line import command
from tests.support.mysql import PASSWORD, Server

pytestmark = pytest.mark.docker


def accounts(server: Server, password: str, admin: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    settings = {
        "SAMEBASE_DATABASE": f"mysql://sync:{password}@127.0.0.1:{server.port}/made",
        "SAMEBASE_ADMIN": f"root:{admin}",
        "SAMEBASE_API": f"api:{password}",
        "SAMEBASE_MIGRATE": f"migrate:{password}",
        "SAMEBASE_LISTEN": "127.0.0.1:1",  # as the image of the sync process sets it: a setting of `run`
    }
    return subprocess.run(
        command("accounts"), env=os.environ | settings, capture_output=True, text=True, timeout=60, check=False
    )


def end_of_log(server: Server) -> Any:
    with closing(server.session(database=None)) as session, session.cursor() as cursor:
        cursor.execute("SHOW BINARY LOG STATUS")
        return cursor.fetchone()


def may_sign_in(server: Server, user: str, password: str) -> bool:
    try:
        pymysql.connect(host="127.0.0.1", port=server.port, user=user, password=password, database="made").close()
    except pymysql.OperationalError as error:
        if error.args[0] != 1045:
            raise
        return False
    return True


def test_the_accounts_are_made_and_given_new_passwords_unlogged(mysql_server: Server) -> None:
    mysql_server.execute("DROP USER IF EXISTS api, sync, migrate", "DROP SCHEMA IF EXISTS made")
    before = end_of_log(mysql_server)
    for password in ("first", "second"):
        done = accounts(mysql_server, password)
        assert (done.returncode, done.stderr) == (0, "")
    assert end_of_log(mysql_server) == before
    for user in ("api", "sync", "migrate"):
        assert may_sign_in(mysql_server, user, "second")
        assert not may_sign_in(mysql_server, user, "first")


def test_a_wrong_password_is_one_line_that_says_what_to_do(mysql_server: Server) -> None:
    done = accounts(mysql_server, "secret-a", admin="secret-b")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "refuses the password" in done.stderr
    assert "remove the data" in done.stderr
    assert "secret" not in done.stderr
