"""Laws of the contract that every registered quantizer obeys: purity, state and serialisation."""

import copy
import io
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st


def test_eval_changes_no_state_no_input_and_draws_no_number(quantizer, latent):
    quantizer.eval()
    state = copy.deepcopy(quantizer.state_dict())
    buffers = [buffer.clone() for buffer in quantizer.buffers()]
    random_state, original = torch.get_rng_state(), latent.clone()
    first, *_, last = (quantizer(latent * scale) for scale in (1.0, 0.0, 100.0, 1.0))
    assert torch.equal(first.indices, last.indices)
    assert torch.equal(first.quantized, last.quantized)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(latent, original)
    assert quantizer.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in quantizer.state_dict().items())
    assert all(map(torch.equal, quantizer.buffers(), buffers))


def test_a_training_step_changes_no_state_before_update(quantizer, latent):
    state, original = copy.deepcopy(quantizer.state_dict()), latent.clone()
    quantizer.train()(latent)
    assert torch.equal(latent, original)
    assert all(torch.equal(value, state[key]) for key, value in quantizer.state_dict().items())
    quantizer.update()
    quantizer(latent)


@pytest.mark.law("independence")
@settings(max_examples=5)
@given(data=st.data())
def test_eval_treats_images_independently(quantizer, sample, data):
    images = data.draw(st.integers(1, 6))
    z = sample(quantizer, (images, 2, 3), seed=data.draw(st.integers(0, 99)))
    sizes, left = [], images
    while left:
        sizes.append(data.draw(st.integers(1, left)))
        left -= sizes[-1]
    order = torch.tensor(data.draw(st.permutations(range(images))))
    together = quantizer.eval()(z)
    apart = [quantizer(part) for part in z[order].split(sizes)]
    assert torch.equal(torch.cat([part.indices for part in apart]), together.indices[order])
    assert torch.equal(torch.cat([part.quantized for part in apart]), together.quantized[order])


@pytest.mark.law("independence")
@pytest.mark.law("locality")
def test_eval_treats_positions_independently(quantizer, latent):
    """Some positions, in another order and without spatial axes, get the same codes."""
    together = quantizer.eval()(latent)
    positions = latent.movedim(1, -1).flatten(0, -2)
    order = torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))[:50]
    apart = quantizer(positions[order])
    assert torch.equal(apart.indices, together.indices.movedim(1, -1).flatten(0, -2)[order])
    assert torch.equal(apart.quantized, together.quantized.movedim(1, -1).flatten(0, -2)[order])


@pytest.mark.law("determinism")
def test_training_chooses_the_codes_of_eval(quantizer, latent):
    training, evaluated = quantizer.train()(latent), quantizer.eval()(latent)
    assert torch.equal(training.indices, evaluated.indices)
    assert torch.equal(training.quantized, evaluated.quantized)


def test_an_empty_batch_adds_nothing(quantizer, latent, sample):
    quantizer.train()(latent)
    quantizer.update()
    state = copy.deepcopy(quantizer.state_dict())
    for training in (True, False):
        z = sample(quantizer, (0, 3, 5), seed=0).requires_grad_()
        output = quantizer.train(training)(z)
        assert all(loss == 0 for loss in output.losses.values())
        (output.quantized.sum() + sum(output.losses.values())).backward()
        quantizer.update()
    gradients = [p.grad for p in quantizer.parameters() if p.grad is not None]
    assert not any(gradient.any() for gradient in gradients)
    assert all(torch.equal(value, state[key]) for key, value in quantizer.state_dict().items())


def test_memory_layout_changes_nothing(quantizer, latent):
    expected = quantizer(latent)
    wide = torch.cat([latent, latent], dim=-1)
    layouts = {
        "channels last": latent.to(memory_format=torch.channels_last),
        "transposed storage": latent.transpose(2, 3).contiguous().transpose(2, 3),
        "slice of a wider tensor": wide[..., : latent.shape[-1]],
    }
    for layout, z in layouts.items():
        output = quantizer(z)
        assert torch.equal(output.indices, expected.indices), layout
        assert torch.equal(output.quantized, expected.quantized), layout


@pytest.mark.law("locality")
def test_an_expanded_latent_gets_one_code_everywhere(quantizer, latent):
    output = quantizer(latent[:1, :, :1, :1].expand(4, -1, 2, 3))
    assert torch.equal(output.indices, output.indices[:1, :, :1, :1].expand_as(output.indices))


def test_a_state_dict_of_another_quantizer_is_refused_with_the_key(quantizer):
    state = quantizer.state_dict()
    with pytest.raises(RuntimeError, match="nonsense"):
        quantizer.load_state_dict(state | {"nonsense": torch.zeros(1)})
    for key, value in state.items():
        with pytest.raises(RuntimeError, match=key):
            quantizer.load_state_dict({k: v for k, v in state.items() if k != key})
        with pytest.raises(RuntimeError, match=key):
            quantizer.load_state_dict(state | {key: torch.zeros(*value.shape, 3)})


def test_weights_load_without_trusting_the_file(make, quantizer, latent):
    file = io.BytesIO()
    torch.save(quantizer.state_dict(), file)
    file.seek(0)
    other = make(1)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    _assert_equal_in_eval(other, quantizer, latent)


def test_a_pickled_quantizer_is_the_same_quantizer(quantizer, latent):
    other = pickle.loads(pickle.dumps(quantizer))
    assert repr(other) == repr(quantizer)
    assert other.codebook_sizes == quantizer.codebook_sizes
    _assert_equal_in_eval(other, quantizer, latent)


def test_a_copy_shares_no_memory_with_the_original(quantizer, latent):
    other = copy.deepcopy(quantizer)
    _assert_equal_in_eval(other, quantizer, latent)
    before = copy.deepcopy(quantizer.state_dict())
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
        for buffer in other.buffers():
            buffer.zero_()
    assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())
    fresh = copy.deepcopy(quantizer)
    _assert_equal_in_eval(fresh, quantizer, latent)


def test_the_output_shares_no_memory_with_the_codebook(quantizer, latent):
    before = copy.deepcopy(quantizer.state_dict())
    output = quantizer(latent)
    with torch.no_grad():
        output.quantized.zero_()
        output.indices.zero_()
    assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())


def _assert_equal_in_eval(one, other, latent):
    ours, theirs = one.eval()(latent), other.eval()(latent)
    assert torch.equal(ours.indices, theirs.indices)
    assert torch.equal(ours.quantized, theirs.quantized)
