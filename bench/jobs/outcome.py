"""How a job ended, for the exit code and the tables to print. Needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How one job ended.

    Attributes:
        table: name of the table that its record stands in; empty where it left none.
        status: of its record; or `skipped`, `refused`, `died`.
        message: one line for a person.
    """

    table: str
    status: str
    message: str
