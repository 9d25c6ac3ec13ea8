"""A zoo of image-tokenizer quantizers behind one contract. It only depends on torch.

`build("gsq", groups=2, group_channels=8, codebook_size=32)` makes one, `available()` names all,
and `@register("name")` on a subclass of `Quantizer` adds another.
"""

from quantizers import (  # noqa: F401 - importing a file registers its method
    bsq,
    cosine_vq,
    e8,
    ema_vq,
    fsq,
    fvq,
    group_vq,
    grouped_lfq,
    gsq,
    gumbel_vq,
    ibq,
    ifsq,
    kl,
    leech,
    lfq,
    lgq,
    mgvq,
    none,
    product_vq,
    random_code,
    residual_gsq,
    rfsq,
    rvq,
    simvq,
    vq,
)
from quantizers.base import NonFiniteLatentError, Quantizer, QuantizerOutput
from quantizers.registry import available, build, load_entry_points, lookup, register

__all__ = [
    "NonFiniteLatentError",
    "Quantizer",
    "QuantizerOutput",
    "available",
    "build",
    "load_entry_points",
    "lookup",
    "register",
]
