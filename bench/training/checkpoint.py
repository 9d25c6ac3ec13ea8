"""Checkpoints: whole or absent, loaded without running any code from them."""

from pathlib import Path
from typing import Any

import torch

from bench.atomic_files import replacing

_NAME = "checkpoint.pt"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used; the message names the file and what to do."""


def save_checkpoint(directory: Path, state: dict[str, Any]) -> None:
    """Replaces the checkpoint of a run; a kill at any moment leaves the old or the new one."""
    with replacing(directory / _NAME) as temporary:
        torch.save(state, temporary)


def load_checkpoint(directory: Path, *, device: torch.device) -> dict[str, Any] | None:
    """The checkpoint of a run, or None where there is none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = directory / _NAME
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}); "
            "remove it to start this run again"
        ) from error


def remove_checkpoint(directory: Path) -> None:
    """Frees the disk once a run has its record."""
    (directory / _NAME).unlink(missing_ok=True)
