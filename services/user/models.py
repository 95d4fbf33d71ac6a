"""Tables of the user service. What happens when two replicas write one row is said in samebase.toml."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common import columns
from services.common.idempotency import RecordColumns


class Base(DeclarativeBase):
    pass


class Account(Base):
    """A person's account. `name` stays as it was typed, `name_key` is what must be unique."""

    __tablename__ = "account"

    id: Mapped[str] = mapped_column(columns.text(36), primary_key=True)
    name: Mapped[str] = mapped_column(columns.text(64))
    name_key: Mapped[str] = mapped_column(columns.text(64), unique=True)
    password_hash: Mapped[str] = mapped_column(columns.text(255))
    display_name: Mapped[str] = mapped_column(columns.text(64))
    email: Mapped[str | None] = mapped_column(columns.text(254))
    created_at: Mapped[datetime] = mapped_column(columns.UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(columns.UtcDateTime)


class LoginSession(Base):
    """Somebody is signed in until it expires or is deleted. Of its secret only the hash is here."""

    __tablename__ = "session"

    id: Mapped[str] = mapped_column(columns.text(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(columns.text(36), index=True)
    secret_hash: Mapped[str] = mapped_column(columns.text(64))
    created_at: Mapped[datetime] = mapped_column(columns.UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(columns.UtcDateTime)


class Idempotency(RecordColumns, Base):
    """Results of POST requests with an Idempotency-Key."""

    __tablename__ = "idempotency"
