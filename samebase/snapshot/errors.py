"""What can be wrong with a snapshot."""

from samebase.core.errors import SamebaseError


class Refused(SamebaseError):
    """The snapshot cannot be given or used; nothing was changed. The message is one line for a person."""
