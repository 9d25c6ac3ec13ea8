"""The 196,560 shortest vectors of the Leech lattice, and a search for the nearest one.

Conway, Sloane, "Sphere Packings, Lattices and Groups", chapter 4, section 11. With coordinates
scaled to a squared length of 32, and in the order of their indices, they are

    octads  (±2)^8 on the 759 octads of the Golay code, 0 elsewhere, an even number of minus signs
    words   (-3, 1^23) with the -3 in any of 24 places, all signs flipped outside a Golay word
    pairs   (±4)^2 in any two places, 0 elsewhere

The search scores shapes, not vectors: 759 octads, 4096 words and 276 pairs, each with the best
signs or the best place that it allows. It adds in a fixed order and without a matrix product, so a
score does not depend on the other vectors of a batch.
"""

from functools import reduce
from operator import add

import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from quantizers.parts.bits import bit_values
from quantizers.parts.unit_length import scale_down

MINIMAL_VECTORS = 196_560
SQUARED_LENGTH = 32
_OCTAD_VECTORS = 759 * 2**7
_WORD_VECTORS = 4096 * 24
_ROWS_PER_TILE = 128  # 2 MiB for one float32 of each word


def golay_words() -> Bool[Tensor, "4096 24"]:
    """The extended binary Golay code; word number 2^k is row k of its generator matrix.

    Row k holds the quadratic residues modulo 23, shifted by k, and a parity bit, which is 1.
    """
    residues = torch.tensor(sorted({place**2 % 23 for place in range(1, 23)}))
    generator = torch.zeros(12, 24, dtype=torch.int64)
    generator[:, 23] = 1
    generator.scatter_(1, (residues + torch.arange(12)[:, None]) % 23, 1)
    messages = torch.arange(4096)[:, None] >> torch.arange(12) & 1
    return (messages[:, :, None] * generator).sum(dim=1) % 2 == 1


def octads(words: Bool[Tensor, "4096 24"]) -> Int[Tensor, "759 8"]:
    """Places of the ones in each Golay word of weight 8."""
    return words[words.sum(dim=1) == 8].nonzero()[:, 1].view(-1, 8)


def minimal_vectors(words: Bool[Tensor, "4096 24"]) -> Int8[Tensor, "196560 24"]:
    """All vectors of squared length 32, in the order of their indices."""
    negative = torch.arange(128)[:, None] >> torch.arange(7).flip(0) & 1
    negative = torch.cat([negative, negative.sum(dim=1, keepdim=True) % 2], dim=1)
    places = octads(words)[:, None, :].expand(-1, 128, -1)
    on_octads = torch.zeros(759, 128, 24, dtype=torch.int8)
    on_octads.scatter_(2, places, (2 - 4 * negative).to(torch.int8).expand(759, -1, -1))

    eye = torch.eye(24, dtype=torch.int8)
    on_words = _signs(words).to(torch.int8)[:, None, :] * (1 - 4 * eye)

    first, second = _pairs(torch.device("cpu"))
    signs = torch.tensor([[4, 4], [4, -4], [-4, 4], [-4, -4]], dtype=torch.int8)
    on_pairs = signs[:, :1] * eye[first, None] + signs[:, 1:] * eye[second, None]
    return torch.cat([part.flatten(0, 1) for part in (on_octads, on_words, on_pairs)])


def nearest_minimal_vector(
    latents: Float[Tensor, "n 24"], words: Bool[Tensor, "4096 24"]
) -> Int[Tensor, " n"]:
    """Index of the vector with the smallest angle to each latent; ties go to the lowest index.

    It computes in float32 and needs memory for a tile of 128 latents.
    """
    return torch.ops.quantizers.nearest_minimal_vector(latents.detach(), words)


# opaque to the compiler, like `nearest`, because the compiler would unroll the loop over tiles
torch.library.define(
    "quantizers::nearest_minimal_vector", "(Tensor latents, Tensor words) -> Tensor"
)


@torch.library.impl("quantizers::nearest_minimal_vector", "default")
def _search(latents: Tensor, words: Tensor) -> Tensor:
    indices = torch.empty(len(latents), dtype=torch.int64, device=latents.device)
    places = octads(words)
    bytes_of_words = (words.view(4096, 3, 8) * bit_values(8, words.device)).sum(dim=-1).T
    for row in range(0, len(latents), _ROWS_PER_TILE):
        rows = slice(row, row + _ROWS_PER_TILE)
        x = scale_down(latents[rows])
        candidates = _best_octad(x, places), _best_word(x, words, bytes_of_words), _best_pair(x)
        scores, vectors = map(torch.stack, zip(*candidates, strict=True))
        indices[rows] = vectors.gather(0, scores.argmax(dim=0, keepdim=True)).squeeze(0)
    return indices


@torch.library.register_fake("quantizers::nearest_minimal_vector")
def _search_shape(latents: Tensor, words: Tensor) -> Tensor:
    return torch.empty(latents.shape[:1], dtype=torch.int64, device=latents.device)


def _best_octad(
    x: Float[Tensor, "n 24"], places: Int[Tensor, "759 8"]
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Signs as in x; if that makes an odd number of minus signs, the smallest element flips."""
    columns = x.T.contiguous()
    sizes = _rows(columns.abs(), places)  # (759, 8, n)
    odd = _rows((columns < 0).to(x.dtype), places).sum(dim=1) % 2
    total = reduce(add, sizes.unbind(dim=1))  # `sum` may choose another order for another shape
    score, octad = _first_maximum(total - 2 * odd * sizes.amin(dim=1), block=33)

    elements = x.gather(1, places[octad])
    negative = elements < 0
    flip = _smallest_with_lowest_index(elements.abs(), negative)
    odd_number = negative.sum(dim=1, keepdim=True) % 2 == 1
    negative = negative ^ (odd_number & (torch.arange(8, device=x.device) == flip))
    signs = (negative[:, :7] * bit_values(7, x.device)).sum(dim=1)  # the last sign follows
    return 2 * score, octad * 128 + signs


def _smallest_with_lowest_index(
    sizes: Float[Tensor, "n 8"], negative: Bool[Tensor, "n 8"]
) -> Int[Tensor, "n 1"]:
    """Which of the smallest elements to flip to get the lowest index of the signs.

    A minus early on that goes away lowers it most; the last place does not count in it; a new
    minus raises it least in a late place.
    """
    place = torch.arange(8, device=sizes.device)
    order = torch.where(negative | (place == 7), place, 14 - place)
    smallest = sizes == sizes.amin(dim=1, keepdim=True)
    return torch.where(smallest, order, 15).argmin(dim=1, keepdim=True)


def _best_word(
    x: Float[Tensor, "n 24"],
    words: Bool[Tensor, "4096 24"],
    bytes_of_words: Int[Tensor, "3 4096"],
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """The 3 goes where the signed element is smallest: sum(s x) - 4 min(s x)."""
    sums, minima = _sums_and_minima_of_bytes(x)
    first, second, third = bytes_of_words
    total = _rows(sums[0], first) + _rows(sums[1], second) + _rows(sums[2], third)
    lowest = _rows(minima[0], first).minimum(_rows(minima[1], second))
    lowest = lowest.minimum(_rows(minima[2], third))
    score, word = _first_maximum(total - 4 * lowest, block=64)
    return score, _OCTAD_VECTORS + word * 24 + (_signs(words[word]) * x).argmin(dim=1)


def _sums_and_minima_of_bytes(
    x: Float[Tensor, "n 24"],
) -> tuple[Float[Tensor, "3 256 n"], Float[Tensor, "3 256 n"]]:
    """Sum and minimum of eight elements each, for all 256 ways to sign them."""
    sums = x.new_zeros(3, 1, len(x))
    minima = x.new_full((3, 1, len(x)), torch.inf)
    for element in x.T.reshape(3, 8, 1, -1).flip(1).unbind(dim=1):  # the lowest bit first
        sums = torch.cat([sums - element, sums + element], dim=1)
        minima = torch.cat([minima.minimum(-element), minima.minimum(element)], dim=1)
    return sums, minima


def _best_pair(x: Float[Tensor, "n 24"]) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    first, second = _pairs(x.device)
    sizes = x.T.abs().contiguous()
    score, pair = _first_maximum(_rows(sizes, first) + _rows(sizes, second), block=23)
    elements = x.gather(1, torch.stack([first[pair], second[pair]], dim=1))
    signs = ((elements < 0) * bit_values(2, x.device)).sum(dim=1)
    return 4 * score, _OCTAD_VECTORS + _WORD_VECTORS + pair * 4 + signs


def _rows(table: Float[Tensor, "m n"], numbers: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape n"]:
    """`table[numbers]`, several times as fast on a CPU."""
    return table.index_select(0, numbers.flatten()).view(*numbers.shape, -1)


def _first_maximum(
    scores: Float[Tensor, "m n"], block: int
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """`scores.max(dim=0)`, by the maxima of blocks first: many times as fast on a CPU."""
    blocks = scores.view(-1, block, scores.shape[1])
    score, best = blocks.amax(dim=1).max(dim=0)
    rows = blocks.gather(0, best.expand(1, block, -1)).squeeze(0)
    return score, best * block + rows.argmax(dim=0)


def _signs(ones: Bool[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return ones.float() * 2 - 1


def _pairs(device: torch.device) -> Int[Tensor, "2 276"]:
    """Two different places, the lower first, in lexicographic order."""
    return torch.triu_indices(24, 24, offset=1, device=device)
