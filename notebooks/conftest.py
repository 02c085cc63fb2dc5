"""What cannot be run here is not collected: notebook 08 builds its kernel in Triton, which installs on Linux only."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["08_gemm.ipynb"]
