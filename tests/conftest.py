"""Shared by every test: shapes checked on real calls, and one loaded model for all who only read it."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

from jaxtyping import install_import_hook

# Every qcourse function that is called by a test has its jaxtyping shapes checked by beartype.
hook = install_import_hook(
    ["qcourse.numerics", "qcourse.packing", "qcourse.gemm", "qcourse.methods", "qcourse.study.perplexity"],
    "beartype.beartype",
)
hook.__enter__()

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shipped():
    from qcourse.models.loader import load_model

    return load_model()


@pytest.fixture(scope="session")
def tokenizer():
    from qcourse.models.loader import load_tokenizer

    return load_tokenizer()


def pytest_terminal_summary(terminalreporter, config):
    """The mutation proof, where everybody sees it: each task's wrong and right answers, and how many were recognised."""
    if hasattr(config, "mutation_table"):
        terminalreporter.section("known mistakes, made again by students")
        terminalreporter.write_line(config.mutation_table)
