"""What one submission may use."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits for one submission; seconds are wall time unless named otherwise, MB are 2²⁰ bytes.

    A loop is stopped inside its process first, and the process is killed `grace` seconds later if that did not help.
    """

    cell_seconds: float = 20.0  # one cell of the notebook
    task_seconds: float = 20.0  # all calls that one task's check makes
    total_seconds: float = 240.0  # everything, restarts included; tasks after that are not run
    grace: float = 2.0
    cpu_seconds: int = 300  # CPU time of one process
    memory_mb: int = 2048  # beyond what torch itself takes
    scratch_mb: int = 64  # its temporary home, and the largest file in it
    output_kb: int = 256  # printed text; the rest is dropped
    processes: int = 64  # processes and threads together
    notebook_mb: float = 20.0  # size of the file
    message_mb: float = 64.0  # one answer
    restarts: int = 6  # fresh processes after one died or hung

    def __post_init__(self):
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"Limits.{name} = {value}: must be positive")
