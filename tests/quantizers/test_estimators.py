"""Gradient estimators: exact forward; the backward pass against closed forms in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from quantizers.estimators import (
    MAX_ROTATION_GAIN,
    check_estimator,
    diveq,
    estimate,
    rotation_trick,
    straight_through,
)

ESTIMATORS = ["straight_through", "rotation", "diveq"]


def gradient(u: Tensor, code: Tensor, upstream: Tensor) -> Tensor:
    """Gradient of the rotation trick at `u`."""
    u = u.clone().requires_grad_()
    rotation_trick(u, code).backward(upstream)
    return u.grad


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=st.integers(0, 99), exponent=st.integers(-30, 30), name=st.sampled_from(ESTIMATORS))
def test_forward_is_the_code_bit_for_bit(seed, exponent, name):
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(3, 4, generator=generator) * 10.0**exponent
    code = torch.randn(3, 4, generator=generator)
    assert torch.equal(estimate(name, u, code), code)


def test_the_gradient_passes_unchanged_and_none_reaches_the_code():
    u = torch.randn(3, 4).requires_grad_()
    code = torch.randn(3, 4).requires_grad_()
    upstream = torch.randn(3, 4)
    straight_through(u, code).backward(upstream)
    assert torch.equal(u.grad, upstream)
    assert code.grad is None


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_output_is_no_view_of_the_code(name):
    code = torch.randn(3, 4)
    before = code.clone()
    estimate(name, torch.randn(3, 4), code).zero_()
    assert torch.equal(code, before)


def test_it_composes_with_a_nonlinear_decoder():
    """d/du of sum(code^2) is 2 code, evaluated at the code and not at u."""
    u, code = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.arange(5.0).double()
    straight_through(u, code).square().sum().backward()
    assert torch.equal(u.grad, 2 * code)


@pytest.mark.parametrize("d", [2, 3, 8])
def test_the_rotation_trick_is_the_transposed_rotation_from_latent_to_code(d):
    """code = lambda R u with det R = 1, so a gradient g of the output is lambda R^T g at u."""
    u, code, upstream = normal(5, d), normal(5, d, seed=1), normal(5, d, seed=2)
    gradients = gradient(u, code, upstream)
    for e, q, g, found in zip(u, code, upstream, gradients, strict=True):
        e, scale = F.normalize(e, dim=0), q.norm() / e.norm()
        q = F.normalize(q, dim=0)
        w = F.normalize(e + q, dim=0)
        rotation = torch.eye(d).double() - 2 * w.outer(w) + 2 * q.outer(e)
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(d).double())
        assert float(rotation.det()) == pytest.approx(1)
        torch.testing.assert_close(rotation @ e, q)
        torch.testing.assert_close(found, scale * rotation.T @ g, rtol=0, atol=1e-12)


def test_the_rotation_trick_keeps_the_angle_between_gradient_and_code():
    u, code, upstream = normal(50, 6), normal(50, 6, seed=1), normal(50, 6, seed=2)
    before = F.cosine_similarity(code, upstream)
    after = F.cosine_similarity(u, gradient(u, code, upstream))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)


def test_the_rotation_trick_gives_the_code_no_gradient():
    code = normal(3, 4).requires_grad_()
    rotation_trick(normal(3, 4, seed=1).requires_grad_(), code).sum().backward()
    assert code.grad is None


def test_a_latent_along_its_code_is_only_scaled():
    code, upstream = normal(3, 4), normal(3, 4, seed=1)
    torch.testing.assert_close(gradient(code / 8, code, upstream), 8 * upstream)


@pytest.mark.parametrize("scale", [0.0, 1e-320, 1e-12, 1e-3, 1 / 200])
def test_a_latent_far_shorter_than_its_code_gets_a_bounded_gradient(scale):
    u, code, upstream = scale * normal(20, 4), normal(20, 4, seed=1), normal(20, 4, seed=2)
    code = F.normalize(code, dim=1) * 1e3
    found = gradient(u, code, upstream).norm(dim=1)
    torch.testing.assert_close(found, MAX_ROTATION_GAIN * upstream.norm(dim=1))


def test_a_zero_latent_is_scaled_but_not_turned():
    code, upstream = normal(3, 4), normal(3, 4, seed=1)
    found = gradient(torch.zeros(3, 4).double(), code, upstream)
    torch.testing.assert_close(found, MAX_ROTATION_GAIN * upstream)


@pytest.mark.parametrize("noise", [0.0, 1e-17, 1e-12, 1e-6])
def test_a_latent_opposite_to_its_code_gets_a_bounded_gradient(noise):
    code, upstream = normal(50, 4), normal(50, 4, seed=1)
    found = gradient(-code + noise * normal(50, 4, seed=2), code, upstream)
    assert (found.norm(dim=1) <= (3 + 1e-5) * upstream.norm(dim=1)).all()
    if noise == 0:
        e = F.normalize(code, dim=1)
        reflected = upstream - 2 * e * (e * upstream).sum(dim=1, keepdim=True)
        torch.testing.assert_close(found, reflected)


def test_a_zero_code_gets_a_zero_gradient():
    zero = torch.zeros(3, 4).double()
    assert not gradient(normal(3, 4), zero, normal(3, 4, seed=1)).any()
    assert not gradient(zero, zero, normal(3, 4, seed=1)).any()


@pytest.mark.parametrize("d", [2, 3, 8])
def test_diveq_has_the_gradient_of_the_reparameterised_error(d):
    """That of u + |code - u| sg(e), which autograd differentiates for latent and code."""
    leaves = normal(50, d).requires_grad_(), normal(50, d, seed=1).requires_grad_()
    u, code = leaves
    upstream = normal(50, d, seed=2)
    error = code - u
    direction = F.normalize(error, dim=1).detach()
    expected = torch.autograd.grad(
        u + error.norm(dim=1, keepdim=True) * direction, leaves, upstream
    )
    found = torch.autograd.grad(diveq(u, code), leaves, upstream)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_diveq_parts_the_gradient_between_latent_and_code():
    u, code = normal(50, 4).requires_grad_(), normal(50, 4, seed=1).requires_grad_()
    upstream = normal(50, 4, seed=2)
    at_latent, at_code = torch.autograd.grad(diveq(u, code), (u, code), upstream)
    torch.testing.assert_close(at_latent + at_code, upstream)
    error = (code - u).detach()
    across = (at_latent * error).sum(dim=1)
    torch.testing.assert_close(across, torch.zeros(50).double(), rtol=0, atol=1e-12)
    cosine = F.cosine_similarity(at_code, error).abs()
    torch.testing.assert_close(cosine, torch.ones(50).double())


@pytest.mark.parametrize("scale", [0.0, 1e-320, 1e-300, 1e-12])
def test_diveq_close_to_a_code_has_a_bounded_gradient(scale):
    code, upstream = normal(20, 4, seed=1).requires_grad_(), normal(20, 4, seed=2)
    u = (code.detach() * (1 - scale)).requires_grad_()
    at_latent, at_code = torch.autograd.grad(diveq(u, code), (u, code), upstream)
    for part in (at_latent, at_code):
        assert (part.norm(dim=1) <= upstream.norm(dim=1) * (1 + 1e-12)).all()
    torch.testing.assert_close(at_latent + at_code, upstream)
    if torch.equal(u, code):
        assert torch.equal(at_latent, upstream)


def test_the_estimators_differ_in_their_gradient_only():
    u, code, upstream = normal(3, 4).requires_grad_(), normal(3, 4, seed=1), normal(3, 4, seed=2)
    (found,) = torch.autograd.grad(estimate("straight_through", u, code), u, upstream)
    assert torch.equal(found, upstream)
    (found,) = torch.autograd.grad(estimate("rotation", u, code), u, upstream)
    assert torch.equal(found, gradient(u.detach(), code, upstream))
    (found,) = torch.autograd.grad(estimate("diveq", u, code), u, upstream)
    (expected,) = torch.autograd.grad(diveq(u, code), u, upstream)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("rotate", 4, "one of straight_through, rotation, diveq; got 'rotate'"),
        ("rotation", 1, "'rotation' needs codes of at least 2 channels, got 1"),
        ("diveq", 1, "'diveq' needs codes of at least 2 channels, got 1"),
    ],
)
def test_an_estimator_that_cannot_be_used_is_refused(name, channels, message):
    with pytest.raises(ValueError, match=message):
        check_estimator(name, channels)


@pytest.mark.parametrize(
    ("name", "channels"), [("rotation", 2), ("diveq", 2), ("straight_through", 1)]
)
def test_an_estimator_that_can_be_used_is_not_refused(name, channels):
    check_estimator(name, channels)
