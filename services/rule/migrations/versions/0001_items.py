"""Items, and the records of idempotent requests."""

import sqlalchemy as sa
from alembic import op

from services.common import columns

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "item",
        sa.Column("id", columns.text(36), primary_key=True),
        sa.Column("owner_id", columns.text(36), nullable=False),
        sa.Column("name", columns.text(200), nullable=False),
        sa.Column("description", columns.long_text(), nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("progress", sa.SmallInteger, nullable=False),
        sa.Column("call_no", sa.Integer, nullable=False),
        sa.Column("created_at", columns.UtcDateTime, nullable=False),
        sa.Column("updated_at", columns.UtcDateTime, nullable=False),
    )
    op.create_index("item_of_owner", "item", ["owner_id", "created_at", "id"])
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
