"""Execute the notebooks from a clean kernel and normalise what is stored: `make notebooks`.

    python -m tools.notebooks                 every notebook
    python -m tools.notebooks notebooks/01*   those
    python -m tools.notebooks --check         execute nothing, only say what is not normal (used by the tests)

Code cells are formatted first (100 columns). Normal means: executed top to bottom (counts 1…n), no widget state,
no timing metadata, no stderr, no SVG, no path of this machine, and a file of at most 1 MB.
The notebook is written only after every cell ran without an error.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
LIMIT_BYTES = 1_000_000


def problems(path: Path) -> list[str]:
    """What keeps a notebook from being normal, one sentence each."""
    nb = nbformat.read(path, as_version=4)
    code = [c for c in nb.cells if c.cell_type == "code"]
    found = []
    if [c.execution_count for c in code] != list(range(1, len(code) + 1)):
        found.append("not executed top to bottom from a fresh kernel (nbval would skip unrun cells in silence)")
    if path.stat().st_size > LIMIT_BYTES:
        found.append(f"{path.stat().st_size} bytes: at most {LIMIT_BYTES}")
    if str(ROOT) in nbformat.writes(nb) or str(Path.home()) in nbformat.writes(nb):
        found.append("a path of this machine is stored")
    if "widgets" in nb.metadata:
        found.append("widget state is stored")
    for i, cell in enumerate(code, 1):
        for out in cell.outputs:
            if out.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                found.append(f"cell [{i}] stored an error")
            if out.get("name") == "stderr":
                found.append(f"cell [{i}] wrote to stderr: {out.text[:80]!r}")
            if "image/svg+xml" in out.get("data", {}):
                found.append(f"cell [{i}] stored an SVG, whose ids differ in every run")
            if "image/png" in out.get("data", {}) and not out.metadata.get("image/png", {}).get("alt"):
                found.append(f"cell [{i}] stored a figure without alternative text")
    return found


def normalise(nb) -> None:
    """Drop what differs from machine to machine: widget state, execution times, the kernel's patch version."""
    nb.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for i, cell in enumerate(nb.cells):
        cell.id = f"c{i:03d}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        for out in cell.get("outputs", []):
            if out.output_type == "error":  # an expected one: the sentence stays, the frames (and their paths) go
                out.traceback = [f"{out.ename}: {out.evalue}"]
            if "metadata" in out:
                kept = out.metadata.get("image/png")  # a figure's size and alternative text
                out.metadata = nbformat.from_dict({"image/png": kept} if kept else {})


def execute(path: Path) -> float:
    """Run every cell in a fresh kernel beside the notebook, normalise, write. Returns seconds."""
    from nbclient import NotebookClient

    subprocess.run([sys.executable, "-m", "ruff", "format", "--isolated", "--quiet", "--line-length=100", path], check=True)
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    began = time.time()
    os.environ["QCOURSE_STATIC"] = "1"  # the edition for reading: nothing is asked, every answer is shown
    NotebookClient(nb, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    normalise(nb)
    nbformat.write(nb, path)
    return time.time() - began


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    paths = args.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb"))
    bad = 0
    for path in paths:
        seconds = 0.0 if args.check else execute(path)
        found = problems(path)
        bad += bool(found)
        print(f"{path.name}: {seconds:.0f} s" + "".join(f"\n  {p}" for p in found), flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
