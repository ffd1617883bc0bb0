"""What an attention costs on paper."""

from typing import NamedTuple


class Cost(NamedTuple):
    """The forward pass of one head of one batch row.

    flops: a multiply-add counts as two; exponentials, masks and sorting are not counted.
    floats: numbers read from and written to memory, beyond what fits into caches.
    """

    flops: int
    floats: int
