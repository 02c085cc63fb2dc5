"""What cannot be run here is not collected: notebook 08 builds its kernel in Triton, which installs on Linux only."""

import os
from importlib.util import find_spec

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # of the kernels, which inherit it
os.environ["QCOURSE_STATIC"] = "1"  # as they were executed for reading: no guess is asked for, and none is written

collect_ignore = [] if find_spec("triton") else ["08_gemm.ipynb"]
