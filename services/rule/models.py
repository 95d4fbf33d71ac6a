"""Tables of the rule service. What happens when two replicas write one row is said in samebase.toml."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, Integer, SmallInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common import columns, etags
from services.common.idempotency import RecordColumns


class Base(DeclarativeBase):
    pass


class Item(Base):
    """A to-do item. `call_no` is a delta column: concurrent increments add up."""

    __tablename__ = "item"
    __table_args__ = (Index("item_of_owner", "owner_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(columns.text(36), primary_key=True)
    owner_id: Mapped[str] = mapped_column(columns.text(36))
    name: Mapped[str] = mapped_column(columns.text(200))
    description: Mapped[str] = mapped_column(columns.long_text())
    status: Mapped[int] = mapped_column(SmallInteger)
    progress: Mapped[int] = mapped_column(SmallInteger)
    call_no: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(columns.UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(columns.UtcDateTime)

    @property
    def etag(self) -> str:
        """Of every replicated column but the owner, which never changes."""
        return etags.etag(
            {
                "id": self.id,
                "name": self.name,
                "description": self.description,
                "status": self.status,
                "progress": self.progress,
                "call_no": self.call_no,
                "created_at": columns.rfc3339(self.created_at),
                "updated_at": columns.rfc3339(self.updated_at),
            }
        )


class Idempotency(RecordColumns, Base):
    """Results of POST requests with an Idempotency-Key."""

    __tablename__ = "idempotency"
