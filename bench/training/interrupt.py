"""Ctrl-C ends a run between two steps, so its checkpoint is complete."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and saved a checkpoint; not an `Exception`, so a sweep ends too."""


class StopRequest:
    """A context: a first SIGINT or SIGTERM sets `requested`, and a later SIGINT interrupts.

    A later SIGTERM changes nothing: a process gets one from its parent and one with its group.
    Outside the main thread Python receives no signals, and `requested` stays False.

    Args:
        on_request: called for each signal that does not interrupt.
    """

    def __init__(self, on_request: Callable[[], None] = lambda: None) -> None:
        self.requested = False
        self._on_request = on_request
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        try:
            for name in (signal.SIGINT, signal.SIGTERM):
                self._previous[name] = signal.signal(name, self._handle)
        except ValueError:  # not the main thread
            self._previous.clear()
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._previous.items():
            signal.signal(name, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        self._on_request()
