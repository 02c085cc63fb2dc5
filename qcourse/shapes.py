"""The letters: every signature in the course is written with these and no others.

M  tokens in flight (rows of an activation)      N  out_features (rows of a weight)
K  in_features (the axis that is summed over)    G  group_size, weights sharing one scale along K
B  bits in a code                                T  tokens of a sequence, V  vocabulary, D  head_dim

A weight is `W: Float[Tensor, "N K"]`, an activation `x: Float[Tensor, "M K"]`, and `y = x @ W.T`.
The tests check these annotations on real calls (jaxtyping + beartype); at run time they cost nothing,
and without jaxtyping (a bare training machine) they are plain labels.
"""

from torch import Tensor

try:
    from jaxtyping import Float, Integer, Shaped, UInt8
except ImportError:  # a machine with only torch, numpy and safetensors can still train

    class _Label:
        def __class_getitem__(cls, item):
            return item[0]

    Float = Integer = Shaped = UInt8 = _Label

__all__ = ["Float", "Integer", "Shaped", "Tensor", "UInt8"]
