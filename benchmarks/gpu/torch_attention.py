"""PyTorch's fused attention, called like the programs of JAX it is measured beside."""

from collections.abc import Callable

import numpy as np

from benchmarks.gpu.device_time import Run

TorchMaker = Callable[[list[np.ndarray], bool], Run]
"""q, k, v and cotangent, [B, N, H, K], and whether to go backward too -> the call."""


class OnTorch:
    """The result of a call of PyTorch: to be waited for as JAX's arrays are."""

    def block_until_ready(self) -> None:
        """Waits for everything PyTorch has been asked to do."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()


def torch_device_seconds(call: Run, calls: int) -> float:
    """Seconds of one of several calls that PyTorch replays as one CUDA graph.

    Not from a trace: PyTorch's profiler and JAX's are not used in one process.
    """
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        for _ in range(calls):
            call()
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    graph.replay()
    began.record()
    graph.replay()
    ended.record()
    torch.cuda.synchronize()
    return 1e-3 * began.elapsed_time(ended) / calls


def torch_calls() -> dict[str, TorchMaker]:
    """Name -> what makes the call of PyTorch's attention; on a CPU its plain one."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def maker(backend: SDPBackend) -> TorchMaker:
        def make(arrays: list[np.ndarray], backward: bool) -> Run:
            q, k, v, cotangent = (
                torch.tensor(x.swapaxes(1, 2).copy(), device=device, dtype=torch.bfloat16)
                for x in arrays
            )
            for x in (q, k, v):
                x.requires_grad_(backward)

            def call() -> OnTorch:
                with sdpa_kernel(backend):
                    out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
                    if backward:
                        torch.autograd.grad(out, (q, k, v), cotangent)
                return OnTorch()

            return call

        return make

    if device == "cpu":
        return {"torch math": maker(SDPBackend.MATH)}
    return {
        "torch flash": maker(SDPBackend.FLASH_ATTENTION),
        "torch cuDNN": maker(SDPBackend.CUDNN_ATTENTION),
    }
