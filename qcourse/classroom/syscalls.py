"""A filter on system calls (seccomp): what no lab needs, and what would give a student's process more than its limits.

Memory that is in no process is in nobody's limits: a memfd, a System V segment, a tmpfs of one's own inside a nested user
namespace. So these calls are refused (EPERM), like sockets other than Unix streams (a datagram's queue holds what closed
senders left), tracing, and kernel keys. A larger socket buffer is granted in words only: each holds what `census` counts.
`clone3` hides its flags from a filter; it answers ENOSYS, and the C library takes `clone`.
Source: Linux, Documentation/userspace-api/seccomp_filter.rst; numbers: arch/x86/entry/syscalls, include/uapi/asm-generic.
"""

import ctypes
import errno
import platform
import struct
import sys

PR_SET_SECCOMP, MODE_FILTER, ALLOW, REFUSE = 22, 2, 0x7FFF0000, 0x00050000  # REFUSE + errno
LOAD, EQUAL, AT_LEAST, ANY_BIT, GIVE = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF: ld [k]; jeq, jge, jset; ret
NUMBER, MACHINE, FIRST, SECOND, THIRD = 0, 4, 16, 24, 32  # offsets in struct seccomp_data: call, architecture, arguments
MASK, SOCK_STREAM, SOL_SOCKET, SO_SNDBUF, SO_RCVBUF = 0x54, 1, 1, 7, 8  # BPF: and k; include/uapi/asm-generic/socket.h
NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW… of clone(2)
AF_UNIX, X32 = 1, 0x40000000
SAME = {
    "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsmount": 432, "mount_setattr": 442,
    "memfd_secret": 447,
}  # fmt: skip
X86 = SAME | {
    "memfd_create": 319, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240, "unshare": 272, "setns": 308,
    "mount": 165, "umount2": 166, "pivot_root": 155, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
    "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
}  # fmt: skip
ARM = SAME | {
    "memfd_create": 279, "shmget": 194, "msgget": 186, "semget": 190, "mq_open": 180, "unshare": 97, "setns": 268,
    "mount": 40, "umount2": 39, "pivot_root": 41, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271,
    "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
}  # fmt: skip
MACHINES = {  # audit number, refused calls, clone, socket, socketpair, setsockopt
    "x86_64": (0xC000003E, X86, 56, 41, 53, 54),
    "aarch64": (0xC00000B7, ARM, 220, 198, 199, 208),
}


def program(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter as BPF instructions (code, jump if true, jump if false, k)."""
    audit, refused, clone, socket, socketpair, setsockopt = MACHINES[machine]
    no = (GIVE, 0, 0, REFUSE + errno.EPERM)
    lines = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, audit), no, (LOAD, 0, 0, NUMBER), (AT_LEAST, 0, 1, X32), no]
    for number in sorted(refused.values()):
        lines += [(EQUAL, 0, 1, number), no]
    lines += [(EQUAL, 0, 1, 435), (GIVE, 0, 0, REFUSE + errno.ENOSYS)]  # clone3
    lines += [(EQUAL, 0, 3, clone), (LOAD, 0, 0, FIRST), (ANY_BIT, 0, 1, NEW_NAMESPACES), no, (LOAD, 0, 0, NUMBER)]
    for number in (socket, socketpair):  # the family, then the type without its flags
        lines += [(EQUAL, 0, 7, number), (LOAD, 0, 0, FIRST), (EQUAL, 1, 0, AF_UNIX), no]
        lines += [(LOAD, 0, 0, SECOND), (MASK, 0, 0, 0xF), (EQUAL, 1, 0, SOCK_STREAM), no]
        lines += [(LOAD, 0, 0, NUMBER)]
    lines += [(EQUAL, 0, 6, setsockopt), (LOAD, 0, 0, SECOND), (EQUAL, 0, 4, SOL_SOCKET), (LOAD, 0, 0, THIRD)]
    lines += [(EQUAL, 1, 0, SO_SNDBUF), (EQUAL, 0, 1, SO_RCVBUF), (GIVE, 0, 0, REFUSE)]  # "done", and nothing is
    return [*lines, (GIVE, 0, 0, ALLOW)]


def restrict() -> str | None:
    """Put the filter on this process and all that it starts, for good. None, or why there is none.

    Needs `PR_SET_NO_NEW_PRIVS` (set by `isolation.drop_privileges`) or root.
    """
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return f"no filter of system calls on {platform.system()} {platform.machine()}"
    lines = program(platform.machine())
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(lines), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(head), 0, 0) == 0:
        return None
    return f"no filter of system calls: {errno.errorcode.get(ctypes.get_errno(), 'refused')}"
