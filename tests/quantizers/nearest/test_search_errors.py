"""What the search refuses, and how its errors say so."""

import inspect

import pytest
import torch

from quantizers.nearest import nearest


@pytest.mark.parametrize(
    ("latents", "codebook", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(4, 2), r"latents \(n, d\).* got \(2, 3\) and \(4, 2\)"),
        (torch.zeros(2, 3, 3), torch.zeros(4, 3), r"got \(2, 3, 3\) and \(4, 3\)"),
        (torch.zeros(2, 3), torch.zeros(3), r"got \(2, 3\) and \(3,\)"),
        (torch.zeros(2, 3), torch.zeros(0, 3), r"at least one code, got \(0, 3\)"),
        (torch.zeros(2, 0), torch.zeros(4, 0), r"at least one code, got \(4, 0\)"),
        (torch.zeros(2, 3).int(), torch.zeros(4, 3), "floating-point.* torch.int32 and"),
        (torch.zeros(2, 3), torch.zeros(4, 3).long(), "floating-point.* and torch.int64"),
        (torch.zeros(2, 3), torch.zeros(4, 3, device="meta"), "on cpu and .* on meta.*move"),
        (torch.zeros(3, 2, 3), torch.zeros(2, 4, 3), r"got \(3, 2, 3\) and \(2, 4, 3\)"),
        (torch.zeros(3, 2, 3), torch.zeros(4, 3), "one of each per group"),
        (torch.tensor([[0.0], [torch.nan]]), torch.zeros(4, 1), "finite latents, got NaN"),
        (torch.tensor([[-torch.inf, 0.0]]), torch.zeros(4, 2), "finite latents"),
        (torch.zeros(2, 1), torch.tensor([[torch.inf], [torch.nan]]), "codebook without NaN"),
    ],
)
def test_wrong_tensors_are_refused(latents, codebook, message):
    unchecked = inspect.unwrap(nearest)  # as users call it: without the run-time shape checks
    with pytest.raises(ValueError, match=message):
        unchecked(latents, codebook)
