"""What a student's process and all its descendants take, read from /proc by the zygote; and the end of them all."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CROWD = 8  # processes and threads that run beside each other at full priority
LAST = 19  # the lowest priority: a sixty-eighth of a normal process's share of a core
SOCKET_KB = 512  # a Unix stream's two queues, each up to the usual 208 KB, and what the kernel keeps beside them
SWEEPS = 200  # times that a tree is gone through until nothing is left of it


def tree(pid: int | None) -> Iterator[tuple[Path, list[int]]]:
    """(/proc folder, its threads' ids) of a process and all its descendants; nothing where /proc does not tell."""
    todo = [pid] if pid else []
    while todo:
        folder, threads = Path(f"/proc/{todo.pop()}"), []
        with suppress(OSError, ValueError):
            for task in (folder / "task").iterdir():
                threads.append(int(task.name))
                todo += [int(p) for p in (task / "children").read_text().split()]
        yield folder, threads


def resident_kb(folder: Path, shared: bool = False) -> int:
    """Memory of one process, in KB; 0 where /proc does not tell. shared: a page that n share counts 1/n (slower)."""
    file, names = ("smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")) if shared else ("status", ("RssAnon:", "RssShmem:"))
    with suppress(OSError, ValueError):
        return sum(int(row.split()[1]) for row in (folder / file).read_text().splitlines() if row.startswith(names))
    return 0


def socket_kb(folders: list[Path]) -> int:
    """What the sockets of these processes may hold in the kernel, in KB; those on their way inside another one too."""
    count = 0
    with suppress(OSError):
        if os.readlink(folders[0] / "ns/net") != os.readlink("/proc/self/ns/net"):  # a network of its own: all are its
            with open(folders[0] / "net/unix", "rb") as table:
                return SOCKET_KB * max(sum(1 for _ in table) - 1, 0)
    for folder in folders:
        with suppress(OSError):
            count += sum(os.readlink(fd).startswith("socket:") for fd in (folder / "fd").iterdir())
    return SOCKET_KB * count


def used_mb(pid: int, base_kb: int) -> tuple[int, int]:
    """(MB that the tree below `pid` takes at most, how many threads): cheap; an upper bound, since forks share pages.

    base_kb: what each fork shares with its parent from the start.
    """
    below = list(tree(pid))
    kb = sum(max(resident_kb(folder) - base_kb, 0) for folder, _ in below)
    return (kb + socket_kb([folder for folder, _ in below])) >> 10, sum(len(threads) for _, threads in below)


def exact_mb(pid: int, base_kb: int) -> int:
    """The same, with shared pages counted once."""
    below = list(tree(pid))
    kb = sum(resident_kb(folder, shared=True) for folder, _ in below) - base_kb
    return (max(kb, 0) + socket_kb([folder for folder, _ in below])) >> 10


def give_way(pid: int) -> None:
    """Put a crowd at the lowest priority, so that sixty loops take no core from another student.

    It cannot climb back, and what it starts inherits it.
    """
    for _, threads in tree(pid):
        for thread in threads:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread, LAST)


def moment() -> float:
    """Now, in seconds since the machine was started: the clock by which /proc says when a process began."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def started(folder: Path) -> float:
    """When a process began, on the clock of `moment`, to a hundredth; 0 where /proc does not tell."""
    with suppress(OSError, ValueError, IndexError):
        return int((folder / "stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def end_tree(pid: int, since: float | None = None) -> None:
    """Kill a process and all its descendants: stopped first, so that none forks while the others are killed.

    since: spare the process itself, and below it whatever began before this `moment`.
    """
    below: set[int] = set()
    for _ in range(SWEEPS):
        folders = [folder for folder, _ in tree(pid)]
        found = folders if since is None else [folder for folder in folders[1:] if started(folder) >= since]
        new = {int(folder.name) for folder in found} - below
        if not new:
            break
        for each in new:
            send(each, signal.SIGSTOP)
        below |= new
    for each in below:
        send(each, signal.SIGKILL)
    if since is None:
        with suppress(ProcessLookupError, PermissionError):  # where /proc does not tell
            os.killpg(pid, signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """A signal to a process that may be gone already."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
