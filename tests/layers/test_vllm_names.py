"""The map of the contract names what is here (what is there: tests/interop/test_vllm_names.py), and the plugin is light."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from qcourse.layers.vllm_names import NAMES, found

ROOT = Path(__file__).parent.parent.parent


def test_every_name_of_ours_is_there():
    for name in NAMES:
        assert found("qcourse", name.ours) is not None, name.ours
    assert len({n.ours for n in NAMES}) == len(NAMES) and all(n.what.endswith((".", "?")) for n in NAMES)


def test_a_name_that_is_not_there_is_an_error():
    with pytest.raises(AttributeError):
        found("qcourse", "layers.method:LinearMethodBase.aply")


def test_the_entry_point_names_a_function_and_importing_it_is_light():
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["vllm.general_plugins"]
    module, function = points["qcourse-int3"].split(":")
    code = f"import sys, {module} as m; m.{function}; print([n for n in ('torch', 'vllm', 'numpy') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout.strip() == "[]"
