"""Settings of the rule service."""

from __future__ import annotations

from services.common.config import ReplicaSettings


class RuleSettings(ReplicaSettings):
    """Nothing besides what every replica has."""
