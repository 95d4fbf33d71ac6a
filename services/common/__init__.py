"""What every service needs and none owns.

Usable by a service without a database (the gateway), none of these imports SQLAlchemy:

    config        `Settings` (prefix TODO_), `load(SettingsClass)`: unknown keys and bad values are a `ConfigError`
    errors        `Problem(slug, detail, ...)`: every error a caller can see; `install(app, render)` answers with them
    web           `make_app(...)`: a Flask/OpenAPI application that reads strictly and answers errors as problems;
                  `Body`, `Query`, `Headers`: bases of the pydantic models that describe requests; `read_json()`
    logs          `configure(...)`, `get_logger()`: structured lines with the trace id, without secrets
    tracing       `configure()`, `instrument(app)`, `trace_id()`, `traceparent()`
    metrics       request durations by route; `expose()` renders them (also over several worker processes)
    health        `install(app, ready=...)`: /healthz, /readyz, /metrics
    keys, auth    Ed25519 key files; `Verifier.verify(token) -> Caller`
    tokens        the value of X-Replica-Token: `parse`, `merge`, `render`
    sync          `Sync` (protocol) and `SyncClient`: what a replica's api asks its sync process over HTTP

For services that own a database:

    database      `Database`: engine, plain reads, write transactions that begin with their intent row and are retried
    dialects      everything that differs between SQLite and MySQL
    replication   `Replication`: from a request's headers to an acknowledged write, or to the problem that says why not
    idempotency   a repeated POST gets the first one's result
    etags         strong validators and the If-Match / If-None-Match rules
    columns       column types that replicate exactly
    migrations    runs alembic for one service
    operations    /status and /writes/{request}
"""
