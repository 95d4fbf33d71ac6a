"""The rule service as a WSGI application."""

from __future__ import annotations

from flask_openapi3 import OpenAPI

from services.common import operations, web
from services.common.auth import Verifier
from services.common.config import load
from services.common.database import Database
from services.common.idempotency import Posts
from services.common.metrics import RETRIES
from services.common.replication import Replication
from services.common.sync import Sync, SyncClient
from services.rule.config import RuleSettings
from services.rule.models import Idempotency
from services.rule.usecases import Items
from services.rule.views import blueprint

# The bodies stand in clear in the same database: a key of its own would protect nothing.
_DIGEST_KEY = b"rule"


def create_app(settings: RuleSettings | None = None, *, sync: Sync | None = None) -> OpenAPI:
    """Make the application; nothing connects before the first request.

    Args:
        settings: None reads the environment. Raises ConfigError.
        sync: what to ask instead of the sync process at `sync_url`.
    """
    settings = settings or load(RuleSettings)
    app = web.make_app(settings, service="rule", title="Samebase rule service", description=__doc__ or "")
    database = Database(settings.database_url.get_secret_value(), RETRIES.labels("rule").inc)
    replication = Replication(database, sync or SyncClient(settings.sync_url), settings, "rule")
    items = Items(replication, Posts(replication, Idempotency, _DIGEST_KEY))
    app.register_api(blueprint(items, replication, Verifier(settings.public_keys_file)))
    app.register_api(operations.writes(replication))
    operations.install(app, replication, settings, "rule")
    return app
