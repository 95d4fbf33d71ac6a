"""python -m tools.containers.secrets REPLICA...: make the secrets of a system of containers, those that are missing.

They are files below /secrets, each readable by the one user whose process needs it. What is there stays as it is: the
databases know these passwords.

    keys/signing.pem                  user's api
    keys/jwks.json                    everybody
    operator.token                    gateway
    REPLICA/mysql/root_password       the replica's MySQL
    REPLICA/accounts/samebase_*       makes the other accounts, see `samebase accounts`
    REPLICA/migrate/todo_database_url
    REPLICA/sync/samebase_database
    REPLICA/api/todo_database_url
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from secrets import token_urlsafe

from services.common import keys

DIRECTORY = Path("/secrets")
MYSQL, ADMINISTRATION, SYNC, GATEWAY = 999, 10005, 10004, 10003
API = {"user": 10001, "rule": 10002}
"""Numbers of the users that the processes run as, see Dockerfile and docker-compose.yml."""


def make(directory: Path, replicas: list[str]) -> None:
    """Make what is missing."""
    if not (directory / "keys").exists():
        new = _new(directory / "keys")
        signing, public = keys.generate(new)
        _own(signing, API["user"])
        public.chmod(0o444)
        new.chmod(0o755)
        new.rename(directory / "keys")
    if not (directory / "operator.token").exists():
        _write(directory / "operator.token", token_urlsafe(32), GATEWAY)
    for replica in replicas:
        if not (directory / replica).exists():
            new = _new(directory / replica)
            for name, (owner, content) in _of(replica).items():
                path = new / name
                path.parent.mkdir(exist_ok=True)
                _write(path, content, owner)
            new.rename(directory / replica)


def _of(replica: str) -> Mapping[str, tuple[int, str]]:
    """Owner and content of a replica's files."""
    service = replica.partition("-")[0]
    root, api, migrate, sync = (token_urlsafe(24) for _ in range(4))
    place = f"{replica}-mysql:3306/{service}"
    return {
        "mysql/root_password": (MYSQL, root),
        "accounts/samebase_database": (ADMINISTRATION, f"mysql://sync:{sync}@{place}"),
        "accounts/samebase_admin": (ADMINISTRATION, f"root:{root}"),
        "accounts/samebase_api": (ADMINISTRATION, f"api:{api}"),
        "accounts/samebase_migrate": (ADMINISTRATION, f"migrate:{migrate}"),
        "migrate/todo_database_url": (ADMINISTRATION, f"mysql+pymysql://migrate:{migrate}@{place}"),
        "sync/samebase_database": (SYNC, f"mysql://sync:{sync}@{place}"),
        "api/todo_database_url": (API[service], f"mysql+pymysql://api:{api}@{place}"),
    }


def _new(path: Path) -> Path:
    """An empty directory that takes its name when it is complete."""
    new = path.with_name(f"{path.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    return new


def _write(path: Path, content: str, owner: int) -> None:
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400), "w") as file:
        file.write(f"{content}\n")
    _own(new, owner)
    new.rename(path)


def _own(path: Path, owner: int) -> None:
    path.chmod(0o400)
    os.chown(path, owner, owner)


def main() -> None:
    replicas = sys.argv[1:]
    if strange := [name for name in replicas if not re.fullmatch(r"(user|rule)-[1-9]\d*", name)]:
        sys.exit(f"error: {', '.join(strange)}: a replica is named user-1, rule-2 ...")
    try:
        make(DIRECTORY, replicas)
    except OSError as error:
        sys.exit(f"error: the secrets cannot be made: {error}")


if __name__ == "__main__":
    main()
