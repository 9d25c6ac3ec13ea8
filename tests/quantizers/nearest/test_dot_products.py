"""Dot products are those of torch whichever library has them, gradients included."""

import pytest
import torch

from quantizers.nearest import dot_products as module
from quantizers.nearest.dot_products import dot_products

SIZES = [(1, 1, 1), (5, 3, 7), (64, 65, 33), (0, 3, 7), (5, 3, 0), (5, 0, 7)]


@pytest.fixture(autouse=True, params=["mkl", "onednn"])
def library(monkeypatch, request):
    """The library of the products, whatever processor the tests run on."""
    monkeypatch.setattr(module, "_mkl_is_slow", lambda: request.param == "onednn")


def factors(size, *, dtype=torch.float32):
    n, k, m = size
    generator = torch.Generator().manual_seed(sum(size))
    left = torch.randn(k, n, generator=generator, dtype=dtype).T  # neither is contiguous
    right = torch.randn(m, 2 * k, generator=generator, dtype=dtype)[:, ::2]
    return left.requires_grad_(), right.requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_products_and_gradients_are_those_of_torch(size, dtype):
    left, right = factors(size, dtype=dtype)
    product = dot_products(left, right)
    exact = left.double() @ right.double().T
    torch.testing.assert_close(product.double(), exact, rtol=1e-5, atol=1e-5)
    upstream = torch.randn(product.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    gradients = torch.autograd.grad(product, [left, right], upstream)
    expected = torch.autograd.grad(exact, [left, right], upstream.double())
    torch.testing.assert_close(gradients, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("constant", [0, 1])
def test_a_constant_factor_gets_no_gradient(constant):
    pair = [factor.detach() for factor in factors((5, 3, 7))]
    pair[1 - constant].requires_grad_()
    dot_products(*pair).sum().backward()
    assert pair[constant].grad is None
    expected = pair[constant].sum(dim=0).expand_as(pair[1 - constant])
    torch.testing.assert_close(pair[1 - constant].grad, expected)


def test_without_gradients_nothing_is_kept():
    with torch.no_grad():
        assert dot_products(*factors((5, 3, 7))).grad_fn is None


def test_without_onednn_products_are_those_of_torch(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(module, "_by_onednn", pytest.fail)
    left, right = factors((5, 3, 7))
    assert torch.equal(dot_products(left, right), left @ right.T)


@pytest.mark.parametrize(("vendor", "slow"), [("GenuineIntel", False), ("AuthenticAMD", True)])
def test_mkl_is_left_for_onednn_on_processors_of_amd(monkeypatch, vendor, slow):
    monkeypatch.undo()
    monkeypatch.setattr(module.Path, "exists", lambda path: False)
    monkeypatch.setattr(module.platform, "processor", lambda: f"Family 6 Model 85, {vendor}")
    module._mkl_is_slow.cache_clear()
    assert module._mkl_is_slow() is slow
    module._mkl_is_slow.cache_clear()
