"""Accounts, sessions, and the records of idempotent requests."""

import sqlalchemy as sa
from alembic import op

from services.common import columns

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", columns.text(36), primary_key=True),
        sa.Column("name", columns.text(64), nullable=False),
        sa.Column("name_key", columns.text(64), nullable=False, unique=True),
        sa.Column("password_hash", columns.text(255), nullable=False),
        sa.Column("display_name", columns.text(64), nullable=False),
        sa.Column("email", columns.text(254)),
        sa.Column("created_at", columns.UtcDateTime, nullable=False),
        sa.Column("updated_at", columns.UtcDateTime, nullable=False),
    )
    op.create_table(
        "session",
        sa.Column("id", columns.text(36), primary_key=True),
        sa.Column("account_id", columns.text(36), nullable=False),
        sa.Column("secret_hash", columns.text(64), nullable=False),
        sa.Column("created_at", columns.UtcDateTime, nullable=False),
        sa.Column("expires_at", columns.UtcDateTime, nullable=False),
    )
    op.create_index("ix_session_account_id", "session", ["account_id"])
    op.create_table(
        "idempotency",
        sa.Column("caller", columns.text(36), primary_key=True),
        sa.Column("path", columns.text(64), primary_key=True),
        sa.Column("idempotency_key", columns.text(200), primary_key=True),
        sa.Column("digest", columns.text(64), nullable=False),
        sa.Column("request", columns.text(36), nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("headers", columns.long_text(), nullable=False),
        sa.Column("body", columns.long_text(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime, nullable=False),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
