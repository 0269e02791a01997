"""The options around a plan's own."""

from msgspec.structs import replace

from qsuper.options import Option
from qsuper.runtime.frame import framed
from tests.support.supervised import domain


def words(options: tuple[Option, ...]) -> list[str]:
    return [" ".join(option.argv()) for option in options]


def test_the_frame() -> None:
    plan = replace(domain("a,b"), options=(Option.flag("nodefaults"),), consoles=())
    assert words(framed(plan)) == [
        "-name guest=a,,b,debug-threads=on",
        "-S",
        "-nodefaults",
        "-chardev socket,id=qsuper-qmp,path=qmp.sock,server=on,wait=off",
        "-mon chardev=qsuper-qmp,id=qsuper-qmp-mon,mode=control",
        "-chardev socket,id=qsuper-sync,path=sync.sock,server=on,wait=off",
        "-mon chardev=qsuper-sync,id=qsuper-sync-mon,mode=control",
        "-chardev socket,id=qsuper-monitor,path=monitor.sock,server=on,wait=off",
        "-mon chardev=qsuper-monitor,id=qsuper-monitor-mon,mode=control",
        "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-msg timestamp=on",
    ]


def test_an_emulator_without_seccomp() -> None:
    assert "-sandbox" not in " ".join(words(framed(replace(domain("a"), has_sandbox=False))))


def test_a_console_gets_a_log_in_a_set_of_its_own() -> None:
    taken = Option.keyed("add-fd", {"set": 6, "fd": 99})
    plan = domain("a", "tick", taken)
    found = [word for word in words(framed(plan)) if "fdset" in word or "add-fd" in word]
    assert found == [
        "-add-fd set=7,fd=<serial0.log>,opaque=serial0-log",
        "-chardev null,id=charserial0,logfile=/dev/fdset/7,logappend=on",
        "-add-fd set=6,fd=99",
    ]


def test_a_console_with_a_log_of_its_own_is_left_alone() -> None:
    plan = domain("a")
    plan = replace(plan, consoles=tuple(replace(each, logged=True) for each in plan.consoles))
    assert not any("add-fd" in word for word in words(framed(plan)))
