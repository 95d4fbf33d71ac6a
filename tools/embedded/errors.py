"""The one way in which starting the system is refused."""


class Refused(Exception):
    """The system cannot run as things are. The message is one line for a person: what is wrong, and what to do.

    Attributes:
        details: more lines, for example the end of a log file.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details
