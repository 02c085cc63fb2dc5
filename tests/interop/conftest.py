"""Folders that several proofs read: the shipped model in a scheme and a layout, made once."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

import pytest
import torch


@pytest.fixture(scope="session")
def ids():
    """Ordinary ids, four windows of 160."""
    return torch.randint(0, 2048, (4, 160), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def folder(tmp_path_factory, ids):
    """(name of a scheme, layout) → the shipped model's folder: rounded to nearest, and converted to that layout."""
    from qcourse.models.convert_folder import convert
    from qcourse.models.loader import SHIPPED
    from qcourse.models.stream import Method, quantize_to_folder
    from qcourse.numerics.schemes import PRESETS

    root, made = tmp_path_factory.mktemp("written"), set()

    def make(scheme: str, layout: str = "compressed-tensors"):
        path = root / f"{scheme}-{layout}"
        if path not in made:
            if layout == "compressed-tensors":
                quantize_to_folder(SHIPPED, path, PRESETS[scheme], Method(), ids, progress=False)
            else:
                convert(make(scheme), path, layout, progress=False)
            made.add(path)
        return path

    return make
