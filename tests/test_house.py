"""The house rules: floors, budgets, docstrings, and documents that tell the truth about the tree."""

import ast
import doctest
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "qcourse").rglob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def run(*command):
    return subprocess.run([*command], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_budgets(path):
    """A file ≤ 200 lines (a Triton file ≤ 300), a function ≤ 40, docstrings on every public door."""
    text = path.read_text()
    assert len(text.splitlines()) <= (300 if path.name.startswith("triton") else 200)
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or not text.strip(), "module docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 40, f"{node.name} is longer than 40 lines"
        if isinstance(node, ast.Module | ast.ClassDef):
            for door in node.body:
                if isinstance(door, ast.FunctionDef | ast.ClassDef) and not door.name.startswith("_"):
                    assert ast.get_docstring(door), f"docstring of {door.name}"


def test_no_cellar_rooms_and_no_star_imports():
    assert not [p for p in FILES if p.stem in ("utils", "helpers", "common", "misc")]
    assert not [p for p in FILES if re.search(r"^from .* import \*", p.read_text(), re.M)]


def test_imports_go_down_only():
    result = run(Path(sys.executable).parent / "lint-imports", "--no-cache")
    assert result.returncode == 0, result.stdout


def test_lint():
    result = run(sys.executable, "-m", "ruff", "check", ".")
    assert result.returncode == 0, result.stdout
    result = run(sys.executable, "-m", "ruff", "format", "--check", "qcourse", "tests", "tools", "benchmarks")
    assert result.returncode == 0, result.stdout


def test_importing_qcourse_is_light():
    heavy = ("torch", "numpy", "matplotlib", "ipywidgets", "triton")
    code = f"import sys, qcourse; print([m for m in {heavy} if m in sys.modules])"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


def test_the_names_a_student_types_first_exist():
    import qcourse

    for name in qcourse.__all__:
        assert getattr(qcourse, name) is not None
    with pytest.raises(AttributeError, match="quantize"):
        _ = qcourse.quantise


MODULES = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in FILES if ">>>" in p.read_text()]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    import torch

    from qcourse.numerics.schemes import PRESETS

    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"torch": torch, "PRESETS": PRESETS})
    assert result.attempted and not result.failed


def names(requirements):
    return {
        re.match(r"[A-Za-z0-9_.-]+", r)[0].lower().replace("_", "-"): re.sub(r"^[A-Za-z0-9_.-]+", "", r)
        for r in requirements
    }


def test_conda_users_get_the_same_environment():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda[-1] == {"pip": ["-e ."]}  # what pip allows in a requirements file
    conda = names(d for d in conda if isinstance(d, str))
    conda["torch"] = conda.pop("pytorch")
    assert conda.pop("python").split(",") == PYPROJECT["project"]["requires-python"].split(",")
    conda.pop("pip")
    wanted = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["project"]["optional-dependencies"]["test"]]
    assert conda == names(r for r in wanted if ";" not in r)  # conda files know no "only on Linux" (triton)


def test_torch_is_pinned_and_nothing_else_may_pull_another():
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert "torch==2.13.0" in constraints
    assert not [c for c in constraints if c.lower().startswith(("nvidia-", "torchvision", "torchaudio"))]
    pinned = names(c for c in constraints if c and not c.startswith("#"))
    extras = PYPROJECT["project"]["optional-dependencies"]
    for requirement in [*PYPROJECT["project"]["dependencies"], *extras["test"], *extras["interop"]]:
        assert next(iter(names([requirement]))) in pinned, requirement


def test_the_tree_in_the_readme_is_the_tree_on_disk():
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"```tree\n(.*?)```", readme, re.S)[1]
    listed, folders = set(), {}
    for line in block.splitlines():
        indent, entry = len(line) - len(line.lstrip()), line.split()[0]
        folders = {k: v for k, v in folders.items() if k < indent}
        path = "".join(folders.values()) + entry
        if entry.endswith("/"):
            folders[indent] = entry
        listed.add(path)
    for path in listed:
        assert (ROOT / path).exists(), f"README names {path}"
    for path in (p.relative_to(ROOT).as_posix() for p in FILES if p.name != "__init__.py"):
        assert path in listed or any(path.startswith(d) for d in listed if d.endswith("/") and d != "qcourse/" and not any(
            x != d and x.startswith(d) for x in listed)), f"README does not name {path}"  # fmt: skip


def test_the_makefile_refuses_an_old_python(tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\ncase \"$1\" in --version) echo 'Python 3.9.1';; *) exit 1;; esac\n")
    old.chmod(0o755)
    result = run("make", "check-python", f"PYTHON={old}")
    assert result.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in result.stdout and "Python 3.9.1" in result.stdout
