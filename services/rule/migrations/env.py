"""Alembic's entry point."""

from services.common import migrations
from services.rule.models import Base

migrations.run(Base.metadata)
