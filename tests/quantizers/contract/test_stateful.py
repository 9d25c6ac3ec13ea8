"""Invariants of a quantizer under any order of training, updates, saving and copying."""

import copy
import io
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from torch import Tensor

from quantizers import Quantizer, available, build

seeds = st.integers(0, 99)
UNIT_GROUPS = {"cosine_vq": 1, "gsq": 2, "mgvq": 2, "bsq": 1, "e8": 1, "leech": 1}
_LEARNING_RATE = 0.05


class Life(RuleBasedStateMachine):
    """One quantizer, and a copy that must not change."""

    name: ClassVar[str]
    parameters: ClassVar[Mapping[str, Any]]

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.quantizer = self.build()
        self.flags: dict[str, bool] = {}
        self.kept: tuple[Quantizer, Tensor] | None = None

    def build(self) -> Quantizer:
        return build(self.name, **self.parameters)

    def latent(self, seed: int, batch: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, self.quantizer.latent_channels, 5, generator=generator)

    @rule(seed=seeds)
    def train(self, seed: int) -> None:
        """A step of gradient descent moves trained parameters, but no buffer."""
        z = self.latent(seed).requires_grad_()
        buffers = persistent_buffers(self.quantizer)
        output = self.quantizer.train()(z)
        loss = (output.quantized - self.latent(seed + 1)).square().mean()
        (loss + sum(output.losses.values())).backward()
        assert z.grad is not None
        with torch.no_grad():
            for parameter in self.quantizer.parameters():
                if parameter.grad is not None:
                    parameter -= _LEARNING_RATE * parameter.grad
                    parameter.grad = None
        assert_equal(persistent_buffers(self.quantizer), buffers)

    @rule()
    def update(self) -> None:
        """Once for all forward passes since the last update."""
        self.quantizer.update()
        assert_that_an_update_changes_nothing(copy.deepcopy(self.quantizer))

    @rule(seed=seeds)
    def evaluate(self, seed: int) -> None:
        """Twice with the same result; it changes no state and draws no random number."""
        before = copy.deepcopy(self.quantizer.state_dict())
        random_state = torch.get_rng_state()
        first, second = (self.quantizer.eval()(self.latent(seed)) for _ in range(2))
        assert torch.equal(first.indices, second.indices)
        assert torch.equal(first.quantized, second.quantized)
        assert torch.equal(torch.get_rng_state(), random_state)
        assert_equal(self.quantizer.state_dict(), before)

    @rule(training=st.booleans())
    def see_no_image(self, training: bool) -> None:
        before = copy.deepcopy(self.quantizer.state_dict())
        self.quantizer.train(training)(self.latent(0, batch=0))
        assert_equal(self.quantizer.state_dict(), before)

    @rule(seed=seeds)
    def save_and_load(self, seed: int) -> None:
        """A new quantizer continues from the file; counts that wait for an update are not in it."""
        file = io.BytesIO()
        torch.save(self.quantizer.state_dict(), file)
        file.seek(0)
        other = self.build()
        other.load_state_dict(torch.load(file, weights_only=True), strict=True)
        z = self.latent(seed)
        assert torch.equal(other.eval()(z).quantized, self.quantizer.eval()(z).quantized)
        self.quantizer = other

    @rule()
    def keep_a_copy(self) -> None:
        kept = copy.deepcopy(self.quantizer).eval()
        self.kept = kept, kept(self.latent(7)).quantized

    @rule()
    def go_on_with_a_copy(self) -> None:
        self.quantizer = copy.deepcopy(self.quantizer)

    @invariant()
    def state_is_finite_and_in_float32(self) -> None:
        for key, value in self.quantizer.state_dict().items():
            assert value.isfinite().all(), key
            assert value.dtype == torch.float32 or not value.is_floating_point(), key
            assert not key.endswith(("sizes", "usage")) or (value >= 0).all(), key

    @invariant()
    def a_forward_pass_in_eval_mode_leaves_nothing_to_update(self) -> None:
        other = copy.deepcopy(self.quantizer)
        other.update()
        assert_that_an_update_changes_nothing(other, after=self.latent(5))

    @invariant()
    def a_flag_that_is_set_stays(self) -> None:
        flags = {
            key: bool(value)
            for key, value in self.quantizer.state_dict().items()
            if value.dtype == torch.bool
        }
        assert all(flags[key] >= value for key, value in self.flags.items())
        self.flags = flags

    @invariant()
    def the_output_is_what_its_indices_stand_for(self) -> None:
        z = self.latent(3)
        output = copy.deepcopy(self.quantizer).eval()(z)
        assert output.quantized.isfinite().all()
        if "discrete" in self.quantizer.breaks:
            return
        assert torch.equal(self.quantizer.dequantize(output.indices), output.quantized)
        for row, size in zip(
            output.indices.unbind(dim=1), self.quantizer.codebook_sizes, strict=True
        ):
            assert ((row >= 0) & (row < size)).all()
        if self.name in UNIT_GROUPS:
            groups = output.quantized.unflatten(1, (UNIT_GROUPS[self.name], -1))
            torch.testing.assert_close(groups.norm(dim=2), torch.ones_like(groups[:, :, 0]))

    @invariant()
    def a_copy_stays_what_it_was(self) -> None:
        if self.kept is not None:
            copied, expected = self.kept
            assert torch.equal(copied(self.latent(7)).quantized, expected)


def assert_that_an_update_changes_nothing(
    quantizer: Quantizer, *, after: Tensor | None = None
) -> None:
    """Neither directly nor after a forward pass in eval mode."""
    before = copy.deepcopy(quantizer.state_dict())
    if after is not None:
        quantizer.eval()(after)
    quantizer.update()
    assert_equal(quantizer.state_dict(), before)


def persistent_buffers(quantizer: Quantizer) -> dict[str, Tensor]:
    parameters = dict(quantizer.named_parameters())
    state = quantizer.state_dict()
    return {key: value.clone() for key, value in state.items() if key not in parameters}


def assert_equal(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert state.keys() == expected.keys()
    for key, value in state.items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("name", available())
def test_any_life_keeps_the_invariants(examples, name):
    parameters = examples[name][-1 if name == "vq" else 0]  # VQ with k-means
    life = type(f"LifeOf_{name}", (Life,), {"name": name, "parameters": parameters})
    with torch.random.fork_rng():
        run_state_machine_as_test(life, settings=settings(max_examples=3, stateful_step_count=10))
