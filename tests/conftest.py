"""Shared by every test: shapes checked on real calls, and one loaded model for all who only read it."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a thread that waits leaves its core to whoever has work

from importlib.util import find_spec

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
if find_spec("hypothesis"):  # (not where an engine of another environment is tested)
    from hypothesis import HealthCheck, settings

    # Hypothesis fails an example that takes 200 ms, and a strategy that draws slowly: a busy machine is no mistake.
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")


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


@pytest.fixture
def own_guesses(monkeypatch, tmp_path):
    """A learner's own folder: the file in which guesses, lines and tasks are kept."""
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path))
    monkeypatch.delenv("QCOURSE_STATIC", raising=False)
    return tmp_path / "guesses.json"
