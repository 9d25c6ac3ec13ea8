"""How a job ended, for the exit code and the tables to print. Needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How one job ended.

    Attributes:
        table: the table of its record; empty without a record.
        status: that of its record; or `skipped`, `refused`, `died`.
        message: one line for people.
    """

    table: str
    status: str
    message: str
