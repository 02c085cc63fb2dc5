"""What takes long and can be begun early: the Triton kernels, compiled by a subprocess while other tests run."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def compiling(request, tmp_path_factory):
    """The subprocess, begun with the first test of this folder: it compiles while the others run."""
    if importlib.util.find_spec("triton") is None or not any("triton_compile" in i.nodeid for i in request.session.items):
        yield None
        return
    folder = tmp_path_factory.mktemp("triton")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(folder)}
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        command = [sys.executable, "-W", "error", HERE / "triton_compile.py"]
        run = subprocess.Popen(command, env=environment, cwd=HERE.parent.parent, stdout=out, stderr=err)
    yield run, folder
    run.kill()
    run.wait()
