from typing import ClassVar

import pytest
import torch

from bench.command_line import UsageError
from bench.conf.operating_point import resolve
from bench.conf.quantizer_yaml import quantizer_yaml
from quantizers import Quantizer
from quantizers.registry import _QUANTIZERS

GSQ = {
    "name": "gsq",
    "groups": None,
    "group_channels": None,
    "codebook_size": None,
    "commitment_weight": 0.25,
    "rates": {
        10: {"groups": 2, "group_channels": 8, "codebook_size": 32},
        12: {"groups": 2, "group_channels": 8, "codebook_size": 64},
    },
}


def test_rate_fills_in_what_is_open():
    point = resolve(GSQ, 12.0)
    assert point.hyperparameters["codebook_size"] == 64
    assert point.label == "groups=2, group_channels=8, codebook_size=64"


def test_what_the_user_types_wins_over_the_operating_point():
    point = resolve(GSQ | {"group_channels": 3}, 10.0)
    assert point.hyperparameters["group_channels"] == 3
    assert point.hyperparameters["codebook_size"] == 32


def test_label_names_what_differs_from_the_default():
    assert resolve(GSQ | {"commitment_weight": 1.0}, 10.0).label.endswith("commitment_weight=1.0")


def test_rate_off_by_more_than_two_percent_is_refused_with_the_true_rate():
    with pytest.raises(UsageError, match="type rate=20"):
        resolve(GSQ | {"groups": 4}, 10.0)


def test_a_rate_without_operating_point_lists_those_there_are():
    with pytest.raises(UsageError, match=r"no operating point at rate=11; it has 10, 12"):
        resolve(GSQ, 11.0)


def test_a_rate_without_operating_point_works_when_everything_is_given():
    given = {"groups": 4, "group_channels": 4, "codebook_size": 32}
    assert resolve(GSQ | given, 20.0).bits_per_position == 20


def test_an_unknown_hyperparameter_lists_the_known():
    with pytest.raises(
        UsageError, match="hyper-parameter of quantizer gsq: 'beta'; known: codebook"
    ):
        resolve(GSQ | {"beta": 1}, 10.0)


def test_a_missing_hyperparameter_says_what_to_type():
    with pytest.raises(UsageError, match=r"type quantizer\.levels="):
        resolve({"name": "fsq", "levels": None}, 10.0)


def test_a_hyperparameter_the_method_refuses_is_a_configuration_error():
    with pytest.raises(UsageError, match="at least 2 levels"):
        resolve({"name": "fsq", "levels": [1, 5]}, 10.0)


def test_controls_have_no_rate_to_match():
    point = resolve({"name": "none", "latent_channels": 8}, 10.0)
    assert point.bits_per_position == float("inf")
    assert point.label == "latent_channels=8"


class Heavy(Quantizer):
    """Its codes are all `first` unless they are drawn."""

    built: ClassVar[list[torch.Tensor]] = []
    quantize = dequantize = None

    def __init__(self, *, latent_channels: int = 10, first: float = 0.0) -> None:
        super().__init__(latent_channels=latent_channels, codebook_sizes=(1024,))
        self.built.append(torch.full((1024, latent_channels), first).uniform_(-1, 1))
        self.linear = torch.nn.Linear(latent_channels, latent_channels)


def test_a_rate_is_found_without_random_numbers(register):
    register(_QUANTIZERS, "heavy")(Heavy)
    before = torch.get_rng_state()
    point = resolve({"name": "heavy", "first": 3.0}, 10.0)
    assert (Heavy.built[-1] == 3.0).all()
    assert torch.equal(torch.get_rng_state(), before)
    point.build()
    assert (Heavy.built[-1] != 3.0).all()


def test_the_configuration_is_not_changed():
    configuration = quantizer_yaml("gsq")
    before = repr(configuration)
    resolve(configuration, 10.0)
    assert repr(configuration) == before
