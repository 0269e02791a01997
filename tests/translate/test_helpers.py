"""Helpers and QMP commands of a plan: what the XML says reaches them, and only them."""

from typing import Any

import pytest

from qsuper import planfile
from qsuper.options import spelled
from qsuper.plan import Command, GroupPlan, Helper, Member, Role
from tests.support.domains import errors, options, translated

SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
TPM = "<tpm><backend type='emulator'{}>{}</backend></tpm>"


def helper(devices: str, **kwargs: Any) -> Helper:  # noqa: ANN401 - as `translated`
    [found] = translated(devices, **kwargs).plan.helpers
    return found


def words(one: Helper) -> list[str]:
    """Give its command line with 7 for its link and 8 for what it says it is ready by."""
    numbers = {one.link.name: 7}
    if one.readiness is not None:
        numbers[one.readiness.name] = 8
    return list(spelled(one.words, numbers))


def virtiofs(inside: str) -> str:
    return (
        f"<filesystem type='mount'><driver type='virtiofs'/>{inside}"
        "<source dir='/a,b'/><target dir='t'/></filesystem>"
    )


def passt(inside: str = "", attributes: str = "") -> str:
    return f"<interface type='user'><backend type='passt'{attributes}/>{inside}</interface>"


def test_swtpm() -> None:
    made = helper(TPM.format(" version='2.0'", ""))
    assert (made.name, made.serves, made.directory) == ("tpm0-swtpm", "tpm0", "tpm/2.0")
    control = ["--ctrl", "type=unixio,clientfd=7", "--tpmstate", "dir=.,mode=0600"]
    assert words(made) == ["socket", "--terminate", "--tpm2", *control]
    assert made.setup is not None
    assert made.setup.words[:3] == ("--tpm2", "--tpmstate", ".")


def test_a_tis_on_x86_is_an_old_tpm() -> None:
    made = helper(TPM.format("", ""))
    assert made.directory == "tpm/1.2"
    assert "--tpm2" not in words(made)


def test_what_a_file_says_of_swtpm() -> None:
    inside = (
        "<source type='dir' path='/some,dir'/><active_pcr_banks><sha256/><sha1/></active_pcr_banks>"
        "<profile source='local:restricted' removeDisabled='check' name='x'/>"
    )
    made = helper(TPM.format(" version='2.0'", inside))
    assert made.directory == "/some,dir"
    assert made.setup is not None
    told = " ".join(map(str, made.setup.words))
    assert "--profile-name local:restricted --profile-remove-disabled check" in told
    assert told.endswith("--pcr-banks sha1,sha256")


def test_the_passphrase_of_a_tpm_is_a_descriptor() -> None:
    secret = "32ee7e76-2178-47a1-ab7b-269e6e348015"
    made = helper(TPM.format(" version='2.0'", f"<encryption secret='{secret}'/>"))
    last = spelled(made.words, {"tpm0-swtpm": 7, "swtpm-key": 9})[-2:]
    assert last == ("--key", "pwdfd=9,mode=aes-256-cbc")


def test_an_external_tpm_has_no_helper() -> None:
    made = translated(
        "<tpm><backend type='external'><source type='unix' path='/s'/></backend></tpm>"
    )
    assert not made.plan.helpers


def test_virtiofsd() -> None:
    made = helper(virtiofs(""), parts=SHARED)
    assert words(made) == ["--fd=7", "-o", "source=/a\\,b"]
    assert made.link.listens


def test_what_a_file_says_of_virtiofsd() -> None:
    inside = (
        "<binary path='/opt/virtiofsd' xattr='on'><cache mode='always'/><sandbox mode='chroot'/>"
        "<lock posix='off' flock='on'/><thread_pool size='16'/><openfiles max='99'/></binary>"
        "<idmap><uid start='0' target='100000' count='65535'/></idmap><readonly/>"
    )
    made = helper(virtiofs(inside), parts=SHARED)
    switches = "source=/a\\,b,cache=always,sandbox=chroot,xattr,flock,no_posix_lock"
    limits = ["--thread-pool-size=16", "--rlimit-nofile=99", "--uid-map=:0:100000:65535:"]
    assert words(made) == ["--fd=7", "-o", switches, *limits, "--readonly"]
    assert made.program == "/opt/virtiofsd"


def test_passt() -> None:
    made = helper(passt())
    assert words(made) == ["--foreground", "--stderr", "--fd", "7", "--pid", "/dev/fd/8"]
    logged = helper(passt(attributes=" logFile='/log'"))
    assert words(logged)[:3] == ["--foreground", "--log-file", "/log"]


def test_what_a_file_says_of_passt() -> None:
    inside = (
        "<source dev='eth42'/><ip address='172.17.2.4' prefix='24'/>"
        "<ip address='2001:db8::feed'/>"
        "<portForward proto='tcp' address='2001:db8::10'><range start='22' to='2022'/>"
        "<range start='1000' end='1050'/><range start='1020' exclude='yes'/>"
        "<range start='1030' end='1040' exclude='yes'/></portForward>"
        "<portForward proto='udp' address='1.2.3.4' dev='eth0'>"
        "<range start='5000' end='5020' to='6000'/></portForward>"
        "<portForward proto='tcp'/>"
    )
    assert words(helper(passt(inside)))[6:] == [
        *["--interface", "eth42", "--address", "172.17.2.4", "--netmask", "255.255.255.0"],
        *["--address", "2001:db8::feed"],
        *["--tcp-ports", "2001:db8::10/22:2022,1000-1050,~1020,~1030-1040"],
        *["--udp-ports", "1.2.3.4%eth0/5000-5020:6000-6020"],
        *["--tcp-ports", "all"],
    ]


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (passt("<ip address='x'/>"), "address='x' is no IP address"),
        (passt("<ip address='1.2.3.4' family='ipv6'/>"), "is not of family='ipv6'"),
        (passt("<portForward proto='icmp'/>"), "proto='icmp' is unknown"),
        (passt("<portForward proto='tcp' dev='a,b'/>"), "dev='a,b' is no network device's name"),
        (
            passt("<portForward proto='tcp'><range start='9' end='8'/></portForward>"),
            "end='8' is before start='9'",
        ),
        (
            passt("<portForward proto='tcp'><range start='1' end='9' to='65535'/></portForward>"),
            "to='65535' leads beyond the last port",
        ),
        (TPM.format("", "<source type='disk' path='/x'/>"), "type='disk' is unknown"),
        (TPM.format("", "<source type='file' path='/a,b'/>"), "no path with a comma"),
        (TPM.format("", "<profile removeDisabled='all'/>"), "removeDisabled='all' is unknown"),
    ],
)
def test_what_a_helper_cannot_be_told(devices: str, message: str) -> None:
    [error] = errors(devices)
    assert message in error


def test_the_command_line_shown_is_libvirts() -> None:
    """What a person can paste names a socket; only the launch knows of descriptors."""
    [netdev] = options(translated(passt()), "netdev")
    assert netdev["addr"]["type"] == "unix"
    assert netdev["addr"]["path"].endswith("-net0.socket")
    [live] = [o for o in translated(passt()).plan.options if o.name == "netdev"]
    assert '"addr":{"type":"fd","str":"7"},"server":false' in live.argv({"net0-passt": 7})[1]
    assert "reconnect" not in live.argv({"net0-passt": 7})[1]


def test_links_and_the_balloon_are_set_by_qmp() -> None:
    devices = "<interface type='user'><link state='down'/></interface>"
    made = translated(devices, parts="<currentMemory unit='MiB'>32</currentMemory>")
    assert made.plan.setup == (
        Command(name="set_link", arguments={"name": "net0", "up": False}),
        Command(name="balloon", arguments={"value": 32 << 20}),
    )
    assert not made.notices


def test_a_plan_with_helpers_survives_its_file() -> None:
    devices = TPM.format("", "") + passt() + virtiofs("")
    parts = SHARED + "<vcpu>2</vcpu><currentMemory unit='MiB'>32</currentMemory>"
    plan = translated(devices, parts=parts).plan
    group = GroupPlan((Member(plan=plan, role=Role.PRIMARY),))
    assert len(plan.helpers) == 3
    assert planfile.loads(planfile.dumps(group)) == group
