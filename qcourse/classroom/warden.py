"""The zygote's watch over the students that it forked: memory, crowds, and an end that leaves nobody behind."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from qcourse.classroom.census import CROWD, end_tree, exact_mb, give_way, resident_kb, used_mb
from qcourse.classroom.limits import Limits

PAUSE = 0.05  # seconds between two looks: in that time a core can fill some 50 MB


@dataclass
class Ward:
    """One student's process tree. `why`: what it was ended for."""

    pid: int
    home: str
    limits: Limits
    why: str = ""


class Warden:
    """Looks after the wards, and knows which of this process's children are none."""

    def __init__(self):
        self.wards: dict[int, Ward] = {}
        self.base_kb = resident_kb(Path("/proc/self"))
        self.cost = 0.0

    def pause(self) -> float | None:
        """Seconds until the next look; None when there is nobody to look after. A look takes a fifth of the time at most."""
        return max(PAUSE, 4 * self.cost) if self.wards else None

    def look(self) -> None:
        """End a tree that takes more memory than it may; make a crowd give way."""
        began = time.monotonic()
        for ward in self.wards.values():
            most = ward.limits.memory_mb
            mb, threads = used_mb(ward.pid, self.base_kb)
            if threads > CROWD:
                give_way(ward.pid)
            if not ward.why and mb > most and (mb := exact_mb(ward.pid, self.base_kb)) > most:
                ward.why = f"took {mb} MB of memory, all its processes and sockets together; at most {most} MB"
                end_tree(ward.pid)
        self.cost = time.monotonic() - began

    def end(self, pid: int, wait: float) -> tuple[int, Ward]:
        """Wait up to `wait` seconds for the end of a ward, then kill it and all that it started; its status as 0…255."""
        until = time.monotonic() + wait
        while (done := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
            time.sleep(0.01)
        if done == (0, 0):
            end_tree(pid)
            done = os.waitpid(pid, 0)
        ward = self.wards.pop(pid)
        self.sweep()
        code = os.waitstatus_to_exitcode(done[1])
        return (code if code >= 0 else 128 - code), ward

    def quieten(self, pid: int, since: float) -> None:
        """End what a ward started since a `moment`: a cell that was stopped leaves nothing running."""
        if pid in self.wards:
            end_tree(pid, since)

    def sweep(self) -> None:
        """End the children that nobody started here: a daemon, once its parents are gone, comes to its nearest reaper."""
        for stray in self.strays():
            end_tree(stray)
            os.waitpid(stray, 0)

    def strays(self) -> list[int]:
        """This process's children that are no wards; none where /proc does not tell."""
        try:
            mine = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        except OSError:
            return []
        return [int(child) for child in mine if int(child) not in self.wards]
