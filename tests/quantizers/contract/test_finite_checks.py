"""The check of the latents where no forward pass may wait for the device."""

import pytest
import torch

from quantizers import NonFiniteLatentError, build
from quantizers.base import deferred_finite_checks

finite, broken = torch.zeros(1, 2, 3), torch.full((1, 2, 3), torch.nan)


@pytest.fixture
def quantizer():
    return build("fsq", levels=(5, 5))


def test_a_deferred_check_raises_when_it_is_asked_and_not_before(quantizer):
    with deferred_finite_checks() as check:
        for latent in (finite, broken, finite):
            quantizer(latent)
        with pytest.raises(NonFiniteLatentError, match=r"in 1 of the last 3 .* first in number 2"):
            check()


def test_a_deferred_check_forgets_what_it_has_reported(quantizer):
    with deferred_finite_checks() as check:
        quantizer(broken)
        with pytest.raises(NonFiniteLatentError):
            check()
        quantizer(finite)
        check()
        check()


def test_finite_latents_pass_a_deferred_check(quantizer):
    with deferred_finite_checks() as check:
        quantizer(finite)
        check()


def test_outside_a_forward_pass_raises_at_once(quantizer):
    with deferred_finite_checks():
        quantizer(broken)
    with pytest.raises(NonFiniteLatentError, match="in 6 of 6 elements"):
        quantizer(broken)


def test_an_empty_latent_has_nothing_to_check(quantizer):
    with deferred_finite_checks() as check:
        quantizer(torch.empty(0, 2, 3))
        check()


def test_finite_latents_whose_sum_overflows_are_taken(quantizer):
    assert quantizer(torch.full((1, 2, 3), 3e38)).quantized.isfinite().all()
