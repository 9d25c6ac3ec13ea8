import pytest
import torch

from bench.training.seeds import STREAMS, random_stream, stream_seed


def test_streams_seeds_and_steps_all_differ():
    seeds = [
        stream_seed(seed, stream, step)
        for seed in range(3)
        for stream in STREAMS
        for step in range(3)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_stream_seeds_never_change():
    """A change here would silently change every published number."""
    assert stream_seed(0, "init_frame") == 9128153366334540198
    assert stream_seed(1, "data", 5) == 5659198870074890832


def test_an_unknown_stream_lists_the_known_ones():
    with pytest.raises(ValueError, match="init_frame"):
        stream_seed(0, "init")


def test_a_random_stream_leaves_the_generator_outside_untouched():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with random_stream(0, "init_frame"):
        first = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    with random_stream(0, "init_frame"):
        assert torch.equal(torch.rand(4), first)
