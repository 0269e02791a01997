"""Disks for the tests of the translation."""

FILE = "<source file='a.img'/>"
QCOW2 = "<driver name='qemu' type='qcow2'/>"


def disk(target: str, inside: str = FILE, *, head: str = "") -> str:
    name, _, bus = target.partition(":")
    where = f" bus='{bus}'" if bus else ""
    return f"<disk type='file' {head}>{inside}<target dev='{name}'{where}/></disk>\n"


def network(protocol: str, name: str = "x", inside: str = "<host name='h'/>") -> str:
    source = f"<source protocol='{protocol}' name='{name}'>{inside}</source>"
    return f"<disk type='network'>{source}<target dev='vda'/></disk>"


def crumbs(cookies: str) -> str:
    return f"<host name='h'/><cookies>{cookies}</cookies>"
