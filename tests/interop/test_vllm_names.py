"""The map of the contract (layers.vllm_names) in an installed vLLM: `make interop-vllm`."""

import inspect

import pytest

pytest.importorskip("vllm")

from qcourse.layers.int3 import Int3LinearMethod
from qcourse.layers.method import QuantizationConfig
from qcourse.layers.vllm_names import NAMES, found


@pytest.mark.parametrize("name", NAMES, ids=lambda n: n.ours)
def test_the_name_stands_where_the_map_says(name):
    assert found("vllm", name.theirs) is not None


def parameters(function):
    """Names, in order, and which of them are collected (*args, **kwargs)."""
    return [(p.name, p.kind) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", [n for n in NAMES if n.same], ids=lambda n: n.ours)
def test_parameters_are_called_alike(name):
    assert parameters(found("qcourse", name.ours)) == parameters(found("vllm", name.theirs))


def test_a_format_of_ours_has_vllms_signatures_whole():
    from vllm.model_executor.layers.linear import LinearMethodBase

    for method in ("create_weights", "process_weights_after_loading", "apply"):
        assert parameters(getattr(Int3LinearMethod, method)) == parameters(getattr(LinearMethodBase, method))


def test_whatever_is_abstract_there_is_answered_here():
    from vllm.model_executor.layers.quantization.base_config import QuantizationConfig as Theirs

    assert all(hasattr(QuantizationConfig, name) for name in Theirs.__abstractmethods__)
    ours, theirs = QuantizationConfig.__dict__, Theirs.__dict__
    for name in Theirs.__abstractmethods__:
        assert type(ours[name]) is type(theirs[name]), name  # classmethod, staticmethod, or neither
