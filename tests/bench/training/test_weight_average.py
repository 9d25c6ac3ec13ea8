import pytest
import torch
from torch import nn

from bench.training.weight_average import WeightAverage


def test_average_follows_its_closed_form():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 1.0)
    average = WeightAverage(module, decay=0.5)
    expected = 1.0
    for step, value in enumerate([3.0, -2.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0]):
        nn.init.constant_(module.weight, value)
        average.update(module, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_buffers_are_copied_not_averaged():
    module = nn.BatchNorm1d(2)
    average = WeightAverage(module, decay=0.999)
    module.running_mean.fill_(5.0)
    average.update(module, step=10_000)
    assert torch.equal(average.module.running_mean, module.running_mean)


def test_average_is_frozen_and_in_eval_mode():
    average = WeightAverage(nn.Dropout(0.5), decay=0.9)
    assert not average.module.training
    assert not any(
        p.requires_grad for p in WeightAverage(nn.Linear(2, 2), decay=0.0).module.parameters()
    )


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay_outside_its_range_is_refused(decay):
    with pytest.raises(ValueError, match="decay"):
        WeightAverage(nn.Linear(1, 1), decay=decay)
