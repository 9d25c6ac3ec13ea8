"""Progress of a run, on the terminal and in a log: a bar or plain lines, and JSON lines."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """On stderr: a tqdm bar on a terminal, otherwise a plain line every few seconds."""

    def __init__(self, name: str, *, start: int, total: int) -> None:
        self.name = name
        self.total = total
        self._terminal = sys.stderr.isatty()
        self._last_line = time.monotonic()
        self._bar = tqdm(
            total=total, initial=start, desc=name, unit="step", disable=not self._terminal
        )

    def advance(self) -> None:
        """Counts one step."""
        self._bar.update()

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Shows loss, training PSNR and code usage after `step` steps."""
        text = f"loss {values['loss']:.3f}, {values['psnr_db']:.2f} dB"
        if "usage" in values:
            text += f", usage {100 * values['usage']:.0f} %"
        if self._terminal:
            self._bar.set_postfix_str(text)
        elif step == self.total or time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print(f"{self.name}: step {step}/{self.total}, {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()


class MetricsLog:
    """One JSON object per logged step in `log.jsonl`, and TensorBoard events on request.

    A resumed run drops the lines after its checkpoint, so no step is logged twice.
    """

    def __init__(self, directory: Path, *, start: int, tensorboard: bool) -> None:
        self._path = directory / "log.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        before = [line for line in self.lines(directory) if line["step"] <= start]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in before), encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8")
        self._events = _event_writer(directory, start) if tensorboard else None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends the values of one step."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._events:
            self._events.close()

    @staticmethod
    def lines(directory: Path) -> list[dict[str, Any]]:
        """The log so far, without a line that a kill cut short."""
        path = directory / "log.jsonl"
        lines = []
        for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break
        return lines


def _event_writer(directory: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ModuleNotFoundError(
            "tensorboard=true needs the package tensorboard; type: "
            "pip install 'quantizer-zoo[tensorboard]'"
        ) from error
    return SummaryWriter(str(directory / "tensorboard"), purge_step=start)
