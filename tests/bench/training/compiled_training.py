"""Trains with `compile=true`, straight and resumed, and without; run by `test_compilation.py`.

It needs its own process: torch cannot compile the tests' run-time shape checks.
Prints one JSON object.
"""

import json
import shutil
import sys
from itertools import chain
from pathlib import Path

import torch

from bench.conf.operating_point import resolve
from bench.data import load_data
from bench.run import main
from bench.speed.steps import configuration
from bench.training.log import MetricsLog
from bench.training.networks import build_modules
from bench.training.trainer import Trainer


def train(name: str, *overrides: str, copy_to: Path | None = None) -> Trainer:
    """Trains to step 4; copies the checkpoint of step 2 to a folder."""
    config = configuration("fsq", *words, *overrides)
    trainer = Trainer(
        config,
        build_modules(config, resolve(config.quantizer, config.rate)),
        load_data("folder", image_size=32, root=root).train,
        directory=folder / name,
        device=torch.device("cpu"),
        autocast=False,
        name=name,
    )
    trainer.restore()
    step = trainer.step_on

    def copying(batch):
        if copy_to and trainer.step == 2:
            copy_to.mkdir()
            shutil.copy(folder / name / "checkpoint.pt", copy_to)
        step(batch)

    trainer.step_on = copying
    trainer.run()
    return trainer


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return list(
        chain(*(m.state_dict().values() for m in (trainer.autoencoder, trainer.average.module)))
    )


def losses(name: str) -> list[float]:
    return [line["loss"] for line in MetricsLog.lines(folder / name)]


root, folder, words = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
if __name__ == "__main__":  # the process of the run imports this file again
    compiled = train("compiled", "compile=true", copy_to=folder / "resumed")
    resumed = train("resumed", "compile=true")
    train("eager")
    code = main(["quantizer=fsq", "compile=true", *words])
    (record,) = (folder / "leaderboards" / "records").glob("*.json")
    print(
        json.dumps(
            {
                "code": code,
                "record": json.loads(record.read_text()),
                "names": list(torch.load(folder / "compiled" / "checkpoint.pt")["autoencoder"]),
                "resumed": [line["step"] for line in MetricsLog.lines(folder / "resumed")],
                "equal": all(map(torch.equal, weights(compiled), weights(resumed))),
                "compiled": losses("compiled"),
                "eager": losses("eager"),
                "seconds": [compiled.step_window.seconds, compiled.step_window.compile_seconds],
            }
        )
    )
