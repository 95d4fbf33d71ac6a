"""Alembic's entry point."""

from services.common import migrations
from services.user.models import Base

migrations.run(Base.metadata)
