"""Compiles and exports examples of methods and compares with eager mode, for test_compile.py.

A process of its own, because the run-time shape checks of the test session cannot be traced. Every
example is traced into one graph with a dynamic batch, forward and in training mode backward, and
exported both ways. A method's first example goes through the code generator in both modes, with
torch.compile's defaults: first for one batch size, then for any.
Usage: compile_and_export.py FOLDER EXAMPLES_AS_JSON. Writes FOLDER/NAME.txt for each method: what
went wrong, or nothing.
"""

import copy
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config
from torch import Tensor, nn

from quantizers import NonFiniteLatentError, Quantizer, build


class Forward(nn.Module):
    """A quantizer with a plain tuple as its output, which is what can be exported."""

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        output = self.quantizer(z)
        return output.quantized, output.indices


class Dequantize(nn.Module):
    """The way back from indices, as a module."""

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, indices: Tensor) -> Tensor:
        return self.quantizer.dequantize(indices)


def check_compiled(quantizer: Quantizer, *, training: bool, generate: bool) -> None:
    """One graph without breaks, for two batch sizes: same output, losses and gradients."""
    torch._dynamo.reset()
    eager, quantizer = copy.deepcopy(quantizer).train(training), quantizer.train(training)
    backend = "inductor" if generate else "aot_eager" if training else "eager"
    dynamic = None if generate else True
    compiled = torch.compile(quantizer, fullgraph=True, backend=backend, dynamic=dynamic)
    for batch in (4, 7):
        z = torch.randn(batch, quantizer.latent_channels, 3, 2)
        latents = [z.clone().requires_grad_(), z.clone().requires_grad_()]
        outputs = []
        for module, latent in zip((eager, compiled), latents, strict=True):
            torch.manual_seed(0)
            outputs.append(module(latent))
        assert torch.equal(outputs[1].indices, outputs[0].indices)
        torch.testing.assert_close(outputs[1].quantized, outputs[0].quantized)
        torch.testing.assert_close(dict(outputs[1].losses), dict(outputs[0].losses))
        for output in outputs:
            (output.quantized.sin().sum() + sum(output.losses.values())).backward()
        torch.testing.assert_close(latents[1].grad, latents[0].grad, rtol=1e-4, atol=1e-5)
    # the compiled check cannot raise the named error, but it, or a search before it, must stop
    stopped = (RuntimeError, NonFiniteLatentError)
    with pytest.raises(stopped, match=r"latent holds NaN or infinity|finite latents, got NaN"):
        compiled(torch.full_like(z, torch.nan).requires_grad_())


def check_exported(quantizer: Quantizer) -> None:
    """Exported once, with a dynamic batch; both directions equal eager mode bit for bit."""
    quantizer = quantizer.eval().requires_grad_(False)
    batch = {0: torch.export.Dim("batch", min=2)}
    z = torch.randn(4, quantizer.latent_channels, 3, 2)
    forward = torch.export.export(Forward(quantizer), (z,), dynamic_shapes=(batch,)).module()
    for count in (2, 4, 9):
        z = torch.randn(count, quantizer.latent_channels, 3, 2)
        quantized, indices = forward(z)
        assert torch.equal(quantized, quantizer(z).quantized)
        assert torch.equal(indices, quantizer(z).indices)
    if "discrete" in quantizer.breaks:
        return
    decode = torch.export.export(
        Dequantize(quantizer), (indices,), dynamic_shapes=(batch,)
    ).module()
    for count in (2, 5):
        assert torch.equal(decode(indices[:count]), quantized[:count])


def check(name: str, examples: list[dict[str, Any]]) -> str:
    """Runs all checks on the examples of a method; what went wrong with the first to fail."""
    for number, parameters in enumerate(examples):
        try:
            torch.manual_seed(0)
            quantizer = build(name, **parameters)
            for training in (True, False):
                check_compiled(quantizer, training=training, generate=number == 0)
            check_exported(quantizer)
        except Exception:
            return f"{name} {parameters}\n{traceback.format_exc()}"
    return ""


def main() -> None:
    """Runs all checks on the examples of the command line."""
    # With several threads, the code generator may put the check for NaN into a parallel loop,
    # where an exception ends the process.
    torch.set_num_threads(1)
    torch._inductor.config.fallback_random = True  # draw the numbers that eager mode draws
    folder, examples = sys.argv[1:]
    for name, parameters in json.loads(examples).items():
        Path(folder, f"{name}.txt").write_text(check(name, parameters))


if __name__ == "__main__":
    main()
