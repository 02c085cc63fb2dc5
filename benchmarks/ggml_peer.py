"""llama.cpp's matrix products, called from its own library: what a kernel for packed integers is measured against.

The library comes with the package ik-llama-cpp-python (a fork with the repacked layouts; PyPI, 25 MB, no compiler). Q4_0 and
Q8_0: blocks of 32 weights with one fp16 scale; "repacked" (Q4_0_R8, Q8_0_R8) interleaves 8 rows so that one load serves
them all. Activations are quantized inside each product, to 8 bits with one scale a block of 32.
"""

import ctypes
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

PACKAGE = "ik-llama-cpp-python"
TYPES = {"Q4_0": 2, "Q8_0": 8, "Q4_0_R8": 202, "Q8_0_R8": 208}
F32 = 0
CALLS = 512  # at most, of one Product


class InitParams(ctypes.Structure):
    """ggml_init_params."""

    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


@lru_cache(1)
def library():
    """The library, or None where it is not installed."""
    found = find_spec("ik_llama_cpp")
    paths = sorted(Path(found.origin).parent.glob("lib/libggml*")) if found else []
    if not paths:
        return None
    ggml, pointer, size = ctypes.CDLL(str(paths[0])), ctypes.c_void_p, ctypes.c_size_t
    signatures = {
        "ggml_init": (pointer, [InitParams]),
        "ggml_new_tensor_2d": (pointer, [pointer, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]),
        "ggml_mul_mat": (pointer, [pointer, pointer, pointer]),
        "ggml_new_graph": (pointer, [pointer]),
        "ggml_build_forward_expand": (None, [pointer, pointer]),
        "ggml_graph_compute_with_ctx": (ctypes.c_int, [pointer, pointer, ctypes.c_int]),
        "ggml_get_data": (pointer, [pointer]),
        "ggml_nbytes": (size, [pointer]),
        "ggml_quantize_chunk": (size, [ctypes.c_int, pointer, pointer, *[ctypes.c_int64] * 3, pointer]),
        "ggml_free": (None, [pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(ggml, name)
        function.restype, function.argtypes = result, arguments
    return ggml


class Product:
    """y (M, N) = x (M, K) @ W.T with W (N, K) quantized to one of TYPES; several copies of W, used in turns."""

    def __init__(self, kind: str, W: np.ndarray, M: int, copies: int, threads: int):
        self.ggml, self.threads = library(), threads
        (N, K), W = W.shape, np.ascontiguousarray(W, np.float32)
        room = copies * (N * K * 9 // 8 + (4 << 20)) + 4 * M * (N + K) * copies + (64 << 20)
        room += CALLS * (2 * M * K + 65536)  # each call takes room of its own for x in 8 bits, and never gives it back
        self.context = self.ggml.ggml_init(InitParams(room, None, False))
        self.x = self.ggml.ggml_new_tensor_2d(self.context, F32, K, M)
        self.graphs, self.results, first = [], [], None
        for _ in range(copies):
            w = self.ggml.ggml_new_tensor_2d(self.context, TYPES[kind], K, N)
            self.nbytes = self.ggml.ggml_nbytes(w)
            if first is None:
                self.ggml.ggml_quantize_chunk(TYPES[kind], W.ctypes.data, self.ggml.ggml_get_data(w), 0, N, K, None)
                first = w
            else:
                ctypes.memmove(self.ggml.ggml_get_data(w), self.ggml.ggml_get_data(first), self.nbytes)
            y, graph = self.ggml.ggml_mul_mat(self.context, w, self.x), self.ggml.ggml_new_graph(self.context)
            self.ggml.ggml_build_forward_expand(graph, y)
            self.graphs.append(graph)
            self.results.append(self.floats(y, M, N))
        self.input = self.floats(self.x, M, K)

    def floats(self, tensor, rows: int, columns: int) -> np.ndarray:
        """What a tensor holds, seen through NumPy."""
        there = (ctypes.c_float * (rows * columns)).from_address(self.ggml.ggml_get_data(tensor))
        return np.frombuffer(there, np.float32).reshape(rows, columns)

    def __call__(self, i: int) -> np.ndarray:
        """The product with copy i of the weight, of what `input` holds."""
        i %= len(self.graphs)
        self.ggml.ggml_graph_compute_with_ctx(self.context, self.graphs[i], self.threads)
        return self.results[i]

    def close(self) -> None:
        """Give the memory back."""
        self.ggml.ggml_free(self.context)
