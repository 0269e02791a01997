"""Tap devices: by QEMU's bridge helper, which needs no root, or by the kernel's own call.

Sources: QEMU `qemu-bridge-helper.c` (it sends the descriptor over the socket `--fd`);
linux/if_tun.h.
"""

import array
import contextlib
import fcntl
import os
import shutil
import socket
import struct
import subprocess  # noqa: TID251 - before trio is loaded; over in milliseconds
from typing import Final

from qsuper.errors import QsuperError, UnavailableError
from qsuper.options import Tap

_HELPERS: Final = (
    "/usr/lib/qemu/qemu-bridge-helper",
    "/usr/libexec/qemu-bridge-helper",
    "/usr/lib/qemu-bridge-helper",
)
_HELPER_TIMEOUT_S: Final = 10.0

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_IFF_MULTI_QUEUE: Final = 0x0100
_TUNGETIFF: Final = 0x800454D2
_SIOCSIFMTU: Final = 0x8922
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_IFREQ: Final = struct.Struct("16sH22x")  # struct ifreq: the name and the flags
_IFREQ_MTU: Final = struct.Struct("16si20x")  # or the name and the MTU


def open_tap(tap: Tap, *, multi_queue: bool) -> int:
    """Open a tap device; its descriptor is closed on exec.

    Raises:
        UnavailableError: there is no helper, or no /dev/net/tun.
        QsuperError: the helper or the kernel refuses, or the device can't have that MTU.
    """
    if tap.bridge and not tap.ifname:
        descriptor = _from_helper(tap.bridge)
    else:
        descriptor = _from_kernel(tap.ifname or "", multi_queue=multi_queue)
    if tap.mtu is not None:
        try:
            _set_mtu(descriptor, tap.mtu)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def _from_helper(bridge: str) -> int:
    found = (path for path in _HELPERS if os.access(path, os.X_OK))
    helper = next(found, None) or shutil.which("qemu-bridge-helper")
    if helper is None:
        raise UnavailableError(f"bridge {bridge!r}: qemu-bridge-helper is not installed")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(_HELPER_TIMEOUT_S)
        try:
            done = subprocess.run(
                [helper, "--use-vnet", f"--br={bridge}", f"--fd={theirs.fileno()}"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_HELPER_TIMEOUT_S,
                check=False,
            )
            if done.returncode == 0:
                return _received(ours)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise QsuperError(f"bridge {bridge!r}: {helper}: {error}") from error
    said = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
    raise QsuperError(f"bridge {bridge!r}: {said}")


def _received(ours: socket.socket) -> int:
    numbers = array.array("i")
    space = socket.CMSG_SPACE(numbers.itemsize)
    _, messages, _, _ = ours.recvmsg(1, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in messages:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(content[: numbers.itemsize])
    if not numbers:
        raise OSError("it sent no descriptor")
    return numbers[0]


def _from_kernel(ifname: str, *, multi_queue: bool) -> int:
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if multi_queue else 0)
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR)
    except OSError as error:
        raise UnavailableError(f"/dev/net/tun: {error.strerror}") from error
    try:
        request = _IFREQ.pack(os.fsencode(ifname), flags)
        made: bytes = fcntl.ioctl(descriptor, _TUNSETIFF, request)
    except OSError as error:
        os.close(descriptor)
        raise QsuperError(f"tap device {ifname!r}: {error.strerror}") from error
    _set_up(made[:16])
    os.set_blocking(descriptor, False)
    return descriptor


def _set_up(name: bytes) -> None:
    """Bring the interface up where we may; where not, its owner has done so."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket,
        contextlib.suppress(PermissionError),
    ):
        now: bytes = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _IFREQ.pack(name, 0))
        flags = _IFREQ.unpack(now)[1] | _IFF_UP
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _IFREQ.pack(name, flags))


def _set_mtu(descriptor: int, mtu: int) -> None:
    """Set the MTU of the host's end where we may; the guest hears of it in any case.

    Raises:
        QsuperError: the device can't have it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            now: bytes = fcntl.ioctl(descriptor, _TUNGETIFF, _IFREQ.pack(b"", 0))
            fcntl.ioctl(any_socket, _SIOCSIFMTU, _IFREQ_MTU.pack(now[:16], mtu))
        except PermissionError:
            return
        except OSError as error:
            raise QsuperError(f"tap device: mtu {mtu}: {error.strerror}") from error
