"""The straight-through estimator: exact forward, identity backward."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from quantizers.estimators import straight_through


@given(seed=st.integers(0, 99), exponent=st.integers(-30, 30))
def test_forward_is_the_code_bit_for_bit(seed, exponent):
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(3, 4, generator=generator) * 10.0**exponent
    code = torch.randn(3, 4, generator=generator)
    assert torch.equal(straight_through(u, code), code)


def test_the_gradient_passes_unchanged_and_none_reaches_the_code():
    u = torch.randn(3, 4).requires_grad_()
    code = torch.randn(3, 4).requires_grad_()
    upstream = torch.randn(3, 4)
    straight_through(u, code).backward(upstream)
    assert torch.equal(u.grad, upstream)
    assert code.grad is None


def test_the_output_is_no_view_of_the_code():
    code = torch.randn(3, 4)
    before = code.clone()
    straight_through(torch.randn(3, 4), code).zero_()
    assert torch.equal(code, before)


def test_it_composes_with_a_nonlinear_decoder():
    """d/du of sum(code^2) is 2 code, evaluated at the code and not at u."""
    u, code = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.arange(5.0).double()
    straight_through(u, code).square().sum().backward()
    assert torch.equal(u.grad, 2 * code)
