"""A filter of system calls for level full: what no namespace takes away, and no check needs.

Namespaces do not part every kind of socket (a virtual machine's vsock reaches its host), nor the keys of a user, and
some calls have been ways out of every sandbox for years. They answer as on a kernel that does not have them.
"""

import errno
import platform
import struct

# Of each machine: what the kernel calls it, the number of socket(), and the numbers that it has for older calls.
_X86, _ARM = 0xC000003E, 0xC00000B7
_MACHINES = {
    # bpf, perf_event_open, userfaultfd, add_key, request_key, keyctl, kexec_load, open_by_handle_at
    "x86_64": (_X86, 41, (321, 298, 323, 248, 249, 250, 246, 304)),
    "aarch64": (_ARM, 198, (280, 241, 282, 217, 218, 219, 104, 265)),
}
# io_uring makes sockets and opens files past this filter. From 424 on, numbers are the same everywhere.
_IO_URING = (425, 426, 427)
_FOREIGN_CALLS = 0x40000000  # of the x32 kind: the same calls by other numbers
_FAMILIES = (1, 2, 10, 16)  # unix, IPv4, IPv6, and netlink, which tells which addresses there are
_ARCHITECTURE_AT, _NUMBER_AT, _FIRST_ARGUMENT_AT = 4, 0, 16
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000


def program(machine: str | None = None) -> bytes:
    """As bubblewrap's --seccomp reads it; empty for a machine whose numbers are not known here."""
    known = _MACHINES.get(machine or platform.machine())
    if known is None:
        return b""
    architecture, socket, older = known
    steps = [
        *(_step(_LOAD, _ARCHITECTURE_AT), _step(_IF_EQUAL, architecture, then=1), _failing(errno.ENOSYS)),
        *(_step(_LOAD, _NUMBER_AT), _step(_IF_AT_LEAST, _FOREIGN_CALLS, other=1), _failing(errno.ENOSYS)),
    ]
    for number in (*older, *_IO_URING):
        steps += [_step(_IF_EQUAL, number, other=1), _failing(errno.ENOSYS)]
    steps += [_step(_IF_EQUAL, socket, then=1), _step(_RETURN, _ALLOW), _step(_LOAD, _FIRST_ARGUMENT_AT)]
    for family in _FAMILIES:
        steps += [_step(_IF_EQUAL, family, other=1), _step(_RETURN, _ALLOW)]
    return b"".join([*steps, _failing(errno.EAFNOSUPPORT)])


def _step(code: int, value: int, *, then: int = 0, other: int = 0) -> bytes:
    """One instruction: how many to leave out where the comparison holds, and where it does not."""
    return struct.pack("=HBBI", code, then, other, value)


def _failing(number: int) -> bytes:
    return _step(_RETURN, _FAIL | number)
