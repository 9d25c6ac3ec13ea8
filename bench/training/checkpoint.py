"""Checkpoints: complete or absent; loading one runs no code from it."""

from pathlib import Path
from typing import Any

import torch

from bench.atomic_files import replacing

_NAME = "checkpoint.pt"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used; the message names the file and what to do."""


def save_checkpoint(directory: Path, state: dict[str, Any]) -> None:
    """Replaces the checkpoint of a run; a kill at any moment leaves the old one or the new one."""
    with replacing(directory / _NAME) as temporary:
        torch.save(state, temporary)


def load_checkpoint(directory: Path, *, device: torch.device) -> dict[str, Any] | None:
    """The checkpoint of a run, or None if there is none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = directory / _NAME
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file
        raise CheckpointError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}); "
            "remove it to start this run again"
        ) from error


def remove_checkpoint(directory: Path) -> None:
    """Deletes the checkpoint of a run, which is not needed after its record is written."""
    (directory / _NAME).unlink(missing_ok=True)
