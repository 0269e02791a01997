"""A system call that the kernel refuses, as a security module would."""

import ctypes
import errno
from collections.abc import Callable
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_NUMBER: Final = 0  # offset of the call's in struct seccomp_data
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ERRNO: Final = 0x00050000
_ALLOW: Final = 0x7FFF0000


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("true", ctypes.c_uint8),
        ("false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def refusing(number: int) -> Callable[[], None]:
    """Give a `preexec_fn`: the process and its children get EPERM for a system call."""
    instructions = (_Instruction * 4)(
        _Instruction(_LOAD, 0, 0, _NUMBER),
        _Instruction(_JUMP_EQUAL, 0, 1, number),
        _Instruction(_RETURN, 0, 0, _ERRNO | errno.EPERM),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    )
    program = _Program(len(instructions), instructions)
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def refuse() -> None:
        for arguments in (
            (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0),
        ):
            if prctl(*arguments):
                raise OSError(ctypes.get_errno(), "prctl")

    return refuse
