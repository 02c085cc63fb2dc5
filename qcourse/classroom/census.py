"""What a student's process and all its descendants take, read from /proc by the judge."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CROWD = 8  # processes and threads that run beside each other at full priority
LAST = 19  # the lowest priority: a sixty-eighth of a normal process's share of a core


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


def resident_mb(pid: int | None, shared: bool = False) -> int:
    """Memory of a process and all its descendants, in MB: an upper bound, since forks share pages until they write.

    shared: count a page that n processes share as 1/n in each (slower). 0 where /proc does not tell.
    """
    file, names = ("smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")) if shared else ("status", ("RssAnon:", "RssShmem:"))
    total = 0
    for folder, _ in tree(pid):
        with suppress(OSError, ValueError):
            total += sum(int(row.split()[1]) for row in (folder / file).read_text().splitlines() if row.startswith(names))
    return total // 1024


def give_way(pid: int | None) -> bool:
    """Put a crowd of more than CROWD at the lowest priority, so that sixty loops take no core from another student.

    It cannot climb back, and what it starts inherits it. Returns whether it was a crowd.
    """
    threads = [thread for _, ids in tree(pid) for thread in ids]
    if len(threads) <= CROWD:
        return False
    for thread in threads:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, LAST)
    return True
