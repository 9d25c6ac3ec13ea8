"""The nearest code for every latent: `nearest`, and the searches behind it.

`search` checks the arguments and chooses. On a CPU every index is exact:

| codes | file |
|:--|:--|
| 1 channel; 2 channels, spherical | `line_and_circle`: sort and bisect |
| 2 to 256 channels, at least 2^20 products, with Numba | `chunks`, then `loops` (`loops_numba`) |
| 2 to 6 channels, 2^13 codes or more, 2^14 latents or more, with Numba | `tree_numba` first |
| all others, and whatever those searches leave uncertain | `chunks`, then `two_passes` |

On an accelerator, in float32:

| device | file |
|:--|:--|
| CUDA with Triton, up to 256 channels | `accelerator`, then `triton_kernel` |
| others | `accelerator` |

"Products" are codes times channels times latents; `chunks` has the tree's limits per number of
channels. A file imports only files to its left: dot_products, rounding, line_and_circle,
lanes_numba, threads_numba < loops_numba, tree_numba, triton_kernel, two_passes < loops,
accelerator < chunks < search.
"""

from quantizers.nearest.search import nearest

__all__ = ["nearest"]
