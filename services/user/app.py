"""The user service as a WSGI application."""

from __future__ import annotations

import hmac

from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_openapi3 import OpenAPI

from services.common import operations, web
from services.common.auth import Verifier
from services.common.config import load
from services.common.database import Database
from services.common.idempotency import Posts
from services.common.keys import key_id, load_jwks, load_signing_key
from services.common.metrics import RETRIES
from services.common.replication import Replication
from services.common.sync import Sync, SyncClient
from services.user.config import UserSettings
from services.user.models import Idempotency
from services.user.passwords import Passwords
from services.user.sessions import Signer
from services.user.usecases import Accounts, Sessions
from services.user.views import blueprint, internal_blueprint, open_blueprint


def create_app(
    settings: UserSettings | None = None, *, sync: Sync | None = None, hasher: PasswordHasher | None = None
) -> OpenAPI:
    """Make the application; nothing connects before the first request.

    Args:
        settings: None reads the environment. Raises ConfigError.
        sync: what to ask instead of the sync process at `sync_url`.
        hasher: a cheaper one, for tests.
    """
    settings = settings or load(UserSettings)
    signing_key = load_signing_key(settings.signing_key_file)
    jwks = load_jwks(settings.public_keys_file)
    app = web.make_app(settings, service="user", title="Samebase user service", description=__doc__ or "")
    database = Database(settings.database_url.get_secret_value(), RETRIES.labels("user").inc)
    replication = Replication(database, sync or SyncClient(settings.sync_url), settings, "user")
    passwords = Passwords(hasher)
    admins = [name.strip() for name in settings.admins.split(",") if name.strip()]
    accounts = Accounts(replication, Posts(replication, Idempotency, _digest_key(signing_key)), passwords, admins)
    sessions = Sessions(replication, accounts, passwords, Signer(signing_key, key_id(signing_key, jwks)))
    limiter = Limiter(get_remote_address, app=app, storage_uri="memory://", strategy="moving-window")
    verifier = Verifier(settings.public_keys_file)
    app.register_api(open_blueprint(accounts, sessions, limiter, jwks))
    app.register_api(blueprint(accounts, replication, verifier))
    app.register_api(internal_blueprint(accounts, sessions, verifier))
    app.register_api(operations.writes(replication))
    operations.install(app, replication, settings, "user")
    return app


def _digest_key(signing_key: Ed25519PrivateKey) -> bytes:
    """A secret that all replicas share: registrations have passwords in them."""
    return hmac.digest(signing_key.private_bytes_raw(), b"digests of idempotent requests", "sha256")
