"""The nearest code for every latent: `nearest`, and the searches behind it.

`search` checks the arguments and chooses. Indices are exact on a CPU; accelerators use float32.

| device | codes | file |
|:--|:--|:--|
| CPU | 1 channel, or 2 if spherical | `line_and_circle`: sort and bisect |
| CPU, Numba | to 6 channels, from 2^13 codes and 2^14 latents (`_TREE`) | `chunks`, `tree_numba` |
| CPU, Numba | to 256 channels, codes * channels * latents from 2^20 | `chunks`, `loops` |
| CPU | all others, and what the compiled code leaves uncertain | `chunks`, `two_passes` |
| CUDA, Triton | to 256 channels | `accelerator`, `triton_kernel` |
| other | all others | `accelerator` |

A file imports only files to its left: dot_products, rounding, line_and_circle, lanes_numba,
threads_numba < loops_numba, tree_numba, triton_kernel, two_passes < loops, accelerator < chunks <
search.
"""

from quantizers.nearest.search import nearest

__all__ = ["nearest"]
