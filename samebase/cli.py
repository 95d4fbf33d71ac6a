"""The command line: `samebase run`, `preflight` and `accounts` are here, the operator's commands in commands/.

Exit codes: 0 well, 1 failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import replace
from typing import NoReturn

import typer
from waitress.server import create_server

from samebase import http, logs
from samebase import preflight as checks
from samebase.commands import adopt, log, rejected, snapshot, status, verify
from samebase.config import ConfigError, Settings, load_account_settings, load_settings, load_tables
from samebase.core.errors import Misuse, Stop, Unavailable, UnknownHost, Unusable
from samebase.desk import Desk
from samebase.progress import Progress
from samebase.runner import Runner
from samebase.session import Pace
from samebase.snapshot.boot import Boot
from samebase.snapshot.http import blueprint
from samebase.snapshot.peers import Peers
from samebase.snapshot.view import Views
from samebase.wiring import SystemClock, connector, replicated_tables

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

HTTP_THREADS = 64
"""Each waiting request holds one."""


@app.callback()
def samebase() -> None:
    """Keeps the databases of a service's replicas the same, over one ordered log."""


@app.command()
def run() -> None:
    """Run the sync process of one replica until SIGTERM. Settings: environment variables SAMEBASE_*."""
    try:
        settings = load_settings()
        tables = load_tables(settings.tables)
        clock = SystemClock()
        progress = Progress(clock)
        connect = connector(settings, tables, progress.wake)
        peers = _peers(settings)
    except ConfigError as error:
        _fail(str(error), 2)
    logs.configure(settings.name, settings.log_format, settings.log_level)
    desk = Desk(progress.wake)
    app = http.create_app(settings.name, progress)
    if settings.peer_token is not None:
        views = Views(
            tables.service,
            settings.name,
            settings.database.get_secret_value(),
            replicated_tables(tables),
            desk,
            clock,
        )
        app.register_blueprint(blueprint(views, progress, settings.peer_token.get_secret_value()))
    host, port = settings.address
    try:
        server = create_server(
            app,
            host=host,
            port=port,
            threads=HTTP_THREADS,
            clear_untrusted_proxy_headers=True,
        )
    except OSError as error:
        _fail(f"SAMEBASE_LISTEN: {settings.listen} cannot be listened on: {error.strerror}", 1)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.run, name="http", daemon=True).start()
    pace = Pace(
        settings.poll_ms / 1000,
        settings.batch,
        settings.republish_after_s,
        pending_max_bytes=settings.pending_max_bytes,
        pending_max_age_seconds=settings.pending_max_age_s,
        start_seconds=settings.start_timeout_s,
    )
    boot = Boot(connect, tables.service, peers, progress, clock, stop)
    try:
        well = Runner(boot.connect, clock, progress, pace, desk).run(stop)
    except (Unusable, UnknownHost) as error:
        _fail(str(error), 1)
    server.close()
    sys.exit(0 if well else 1)


@app.command()
def preflight() -> None:
    """Check this replica's database, tables and log without starting anything. Settings: as for `run`. Exit code 1 if
    something must be changed."""
    try:
        settings = load_settings()
        tables = load_tables(settings.tables)
        connector(settings, tables, lambda: None)
    except ConfigError as error:
        _fail(str(error), 2)
    well = True
    for line in checks.preflight(settings, tables):
        well = well and line.ok
        sys.stdout.write(f"{'ok    ' if line.ok else 'CHANGE'}  {line.text}\n")
    sys.exit(0 if well else 1)


@app.command()
def accounts() -> None:
    """Make the accounts of this replica's MySQL server, or give them new passwords. Settings: SAMEBASE_DATABASE as for
    `run` (its account is made too); SAMEBASE_ADMIN, SAMEBASE_API, SAMEBASE_MIGRATE as user:password."""
    from samebase.mysql.accounts import make
    from samebase.mysql.connection import account_of, address_of

    try:
        settings = load_account_settings()
        sync = address_of(settings.database.get_secret_value())
        admin, api, migrate = (
            account_of(account.get_secret_value()) for account in (settings.admin, settings.api, settings.migrate)
        )
    except (ConfigError, Misuse) as error:
        _fail(str(error), 2)
    try:
        make(replace(sync, user=admin[0], password=admin[1]), api, (sync.user, sync.password), migrate)
    except (Stop, Unavailable) as error:
        _fail(f"the accounts were not made: {error}", 1)


for command in (status.status, verify.verify, verify.repair, log.log, adopt.adopt):
    app.command()(command)
app.add_typer(rejected.app, name="rejected")
app.add_typer(snapshot.app, name="snapshot")


def _peers(settings: Settings) -> Peers | None:
    if settings.peers is None:
        return None
    if settings.peer_token is None:
        raise ConfigError("SAMEBASE_PEERS: without SAMEBASE_PEER_TOKEN no peer gives anything")
    return Peers(settings.peers, settings.peer_token.get_secret_value())


def _fail(why: str, code: int) -> NoReturn:
    sys.stderr.write(f"samebase: {why}\n")
    sys.exit(code)


def main() -> None:
    """Entry point of the `samebase` command."""
    app()
