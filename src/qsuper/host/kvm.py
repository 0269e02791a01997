"""Whether KVM runs a guest: one that counts to 67 million, with a deadline.

That /dev/kvm opens and answers says little: in a virtual machine whose host emulates the
extensions badly, guests start and crawl. So the guest is 64-bit code, as an OS is.

Source: Linux `Documentation/virt/kvm/api.rst`; the ioctls and structures of x86.
"""

import ctypes
import fcntl
import mmap
import os
import select
import signal
import struct
import sys
from typing import Final

from qsuper.host.probe import kvm_problem

_CREATE_VM: Final = 0xAE01
_GET_VCPU_MMAP_SIZE: Final = 0xAE04
_CREATE_VCPU: Final = 0xAE41
_SET_USER_MEMORY_REGION: Final = 0x4020AE46
_RUN: Final = 0xAE80
_SET_REGS: Final = 0x4090AE82
_GET_SREGS: Final = 0x8138AE83
_SET_SREGS: Final = 0x4138AE84

_REGS: Final = struct.Struct("18Q")  # rax ... r15, rip, rflags
_RIP: Final = 16
_RFLAGS: Final = 17
_RESERVED_FLAG: Final = 2  # always set, or the processor refuses to enter the guest
_SREGS_BYTES: Final = 312
_SEGMENT: Final = struct.Struct("QIH8B")
"""Base, limit, selector; type, present, dpl, db, s, l, g, avl. cs is the first of eight."""
_CODE_SEGMENT: Final = (0, 0xFFFFFFFF, 8, 11, 1, 0, 0, 1, 1, 1, 0)  # 64-bit code, ring 0
_CONTROL: Final = struct.Struct("6Q")  # cr0 cr2 cr3 cr4 cr8 efer
_CONTROL_AT: Final = 224
_CR0: Final = 0x80000011  # paging, extension type, protection
_CR4: Final = 0x20  # physical address extension
_EFER: Final = 0x500  # long mode, enabled and active

_EXIT_REASON_AT: Final = 8  # in struct kvm_run
_EXIT_IO: Final = 2
_CODE: Final = b"\xb9\0\0\0\x04\xff\xc9\x75\xfc\xe6\x80\xf4"
"""mov $1<<26, %ecx; 1: dec %ecx; jnz 1b; out %al, $0x80; hlt"""
_PAGE_BYTES: Final = 4096
_CODE_AT: Final = 3 * _PAGE_BYTES  # behind the tables that map the first 2 MiB
_PRESENT: Final = 3  # and writable
_LARGE: Final = 0x80
_WITHIN_S: Final = 2.0  # a processor takes some 0.03 s
_RAN: Final = "ran"
_MACHINES: Final = ("x86_64",)


def kvm_fault() -> str:
    """Say why KVM runs no guests; empty where it does, or where this host's kind is not known.

    Takes up to 2 s where a guest crawls.
    """
    if (problem := kvm_problem()) or os.uname().machine not in _MACHINES:
        return problem
    read, write = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.close(read)
        _child(write)
    os.close(write)
    try:
        if not select.select([read], [], [], _WITHIN_S)[0]:
            return (
                f"a guest that counts to {1 << 26} is not done within {_WITHIN_S:g} s: guests crawl"
            )
        said = os.read(read, 1024).decode()
        return "" if said == _RAN else said or "the process that tried it died"
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _child(report: int) -> None:
    """Run the guest and say how it went: one that hangs is killed with its process."""
    text = ""
    try:
        reason = _exit_reason()
        text = _RAN if reason == _EXIT_IO else f"a guest ended with exit reason {reason}"
    except OSError as error:
        text = f"a guest cannot be run: {error.strerror}"
    finally:
        os.write(report, text.encode())
        os._exit(0)


def _exit_reason() -> int:
    device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    machine = fcntl.ioctl(device, _CREATE_VM, 0)
    memory = mmap.mmap(-1, _CODE_AT + _PAGE_BYTES)
    for table, entry in enumerate((_PAGE_BYTES | _PRESENT, 2 * _PAGE_BYTES | _PRESENT)):
        struct.pack_into("Q", memory, table * _PAGE_BYTES, entry)
    struct.pack_into("Q", memory, 2 * _PAGE_BYTES, _PRESENT | _LARGE)
    memory[_CODE_AT : _CODE_AT + len(_CODE)] = _CODE
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    region = struct.pack("IIQQQ", 0, 0, 0, len(memory), address)
    fcntl.ioctl(machine, _SET_USER_MEMORY_REGION, region)
    processor = fcntl.ioctl(machine, _CREATE_VCPU, 0)
    state = mmap.mmap(processor, fcntl.ioctl(device, _GET_VCPU_MMAP_SIZE))
    special = bytearray(_SREGS_BYTES)
    fcntl.ioctl(processor, _GET_SREGS, special)
    _SEGMENT.pack_into(special, 0, *_CODE_SEGMENT)
    _CONTROL.pack_into(special, _CONTROL_AT, _CR0, 0, 0, _CR4, 0, _EFER)
    fcntl.ioctl(processor, _SET_SREGS, bytes(special))
    registers = [0] * 18
    registers[_RIP], registers[_RFLAGS] = _CODE_AT, _RESERVED_FLAG
    fcntl.ioctl(processor, _SET_REGS, _REGS.pack(*registers))
    fcntl.ioctl(processor, _RUN, 0)
    return int.from_bytes(state[_EXIT_REASON_AT : _EXIT_REASON_AT + 4], sys.byteorder)
