"""What a student's process can see, on Linux: namespaces, and a file system built from an allow-list.

    /            empty, read-only; holds only what is bound below
    the interpreter, its libraries, the package      read-only, at their own paths; qcourse/checks is empty
    /tmp         64 MB in memory: home and working directory; gone with the process
    /dev         null, zero, full, random, urandom          /proc   of this process tree only

No network (not even loopback), no other processes, no other files: submissions, solutions, results and home folders are
not there at all. As root the process becomes an unused user id first; as a plain user it gets a user namespace of its
own and then drops every capability. Where the kernel refuses one of these, `isolate` says so and the rest still holds.
"""

import ctypes
import os
import sys
from pathlib import Path

import qcourse

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, REMOUNT, BIND, REC, PRIVATE, DETACH = 1, 2, 4, 32, 4096, 16384, 1 << 18, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 36, 38
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/localtime", "/nix/store")
DEVICES = ("null", "zero", "full", "random", "urandom")
PACKAGE = Path(qcourse.__file__).resolve().parent
SECRETS = (PACKAGE / "checks",)
libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _call(name: str, *args) -> None:
    """A libc function that returns −1 on failure; raises OSError with what it was asked."""
    args = [a.encode() if isinstance(a, str) else a for a in args]
    if getattr(libc, name)(*args) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{tuple(args)}: {os.strerror(number)}")


def prctl(option: int, value: int = 0) -> None:
    """`prctl(2)` where there is one."""
    if libc is not None:
        libc.prctl(option, value, 0, 0, 0)


def visible() -> list[Path]:
    """The allow-list: interpreter, standard library, installed packages, and the course's package, not its repository."""
    installed = PACKAGE.parent.name in ("site-packages", "dist-packages")
    wanted = [Path(p) for p in (*SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path) if p]
    wanted = [p for p in wanted if p.exists() and (installed or not PACKAGE.is_relative_to(p.resolve()))]
    shown: list[Path] = []
    for path in sorted({*wanted, PACKAGE}, key=lambda p: len(p.parts)):
        if not any(path.is_relative_to(s) and not s.is_symlink() for s in shown):
            shown.append(path)
    return shown


def unshare() -> list[str]:
    """New namespaces for this process (and its children). Returns what was refused; raises OSError if all of it is."""
    if sys.platform != "linux":
        raise OSError("namespaces are Linux's")
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        _call("unshare", NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"1000 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"1000 {gid} 1")
    _call("unshare", NEWNS)
    refused = []
    for flag, what in (
        (NEWPID, "other processes"),
        (NEWNET, "the network"),
        (NEWIPC, "shared memory"),
        (NEWUTS, "host name"),
    ):
        try:
            _call("unshare", flag)
        except OSError as e:
            refused.append(f"{what} not hidden: {e.strerror}")
    return refused


def build_root(root: Path, scratch_mb: int, hidden: list[Path]) -> list[str]:
    """Mount the small file system at `root` and make it `/`. Must run inside `unshare`d namespaces, as process 1."""
    notes: list[str] = []
    _call("mount", "none", "/", None, REC | PRIVATE, None)
    _call("mount", "tmpfs", str(root), "tmpfs", NOSUID, "mode=755,size=4m")
    scratch = f"mode=1777,size={scratch_mb}m,nr_inodes=20000"  # an empty file costs kernel memory that no size counts
    for name, options in (("tmp", scratch), ("dev/shm", "mode=1777,size=16m,nr_inodes=1000")):
        (root / name).mkdir(parents=True, exist_ok=True)
        _call("mount", "tmpfs", str(root / name), "tmpfs", NOSUID | NODEV, options)
    for path in visible():  # after /tmp, for a course may live there
        _show(root, path)
    for path in (*SECRETS, *hidden):
        place = root / path.relative_to("/")
        if place.is_dir():
            _call("mount", "tmpfs", str(place), "tmpfs", RDONLY | NOSUID | NODEV, "size=4k,mode=755")
        elif place.exists():  # the zip that an LMS made
            _call("mount", os.devnull, str(place), None, BIND, None)
    for name in DEVICES:
        _show(root, Path("/dev") / name, devices=True)
    (root / "proc").mkdir()
    try:
        _call("mount", "proc", str(root / "proc"), "proc", NOSUID | NODEV, None)
    except OSError as e:
        notes.append(f"no /proc: {e.strerror}")
    _call("mount", None, str(root), None, REMOUNT | BIND | RDONLY | NOSUID, None)
    os.chdir(root)
    _call("pivot_root", ".", ".")
    _call("umount2", ".", DETACH)
    os.chdir("/tmp")
    return notes


def _show(root: Path, path: Path, devices: bool = False) -> None:
    """Bind `path` read-only at the same place below `root`; a link stays a link."""
    target = root / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and not devices:
        target.symlink_to(os.readlink(path))
        return
    if path.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    _call("mount", str(path), str(target), None, BIND | REC, None)
    flags = os.statvfs(target).f_flag & (NOSUID | NODEV | 8 | 1024 | 2048)  # a plain user may not loosen noexec, noatime …
    _call("mount", None, str(target), None, REMOUNT | BIND | flags | NOSUID | (0 if devices else RDONLY), None)


def drop_privileges(stranger: int) -> None:
    """Become nobody: the user id `stranger` (root), or no capabilities (a plain user), and nothing that wins them back."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(stranger, stranger, stranger)
        os.setresuid(stranger, stranger, stranger)
    elif sys.platform == "linux":
        for capability in range(64):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        libc.capset(header, nothing)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
