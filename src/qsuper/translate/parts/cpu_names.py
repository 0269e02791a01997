"""The names of CPU features and models, as far as libvirt decides by them.

Found by asking libvirt 11.3 for each name that QEMU, Linux or a CPU's manual has.
"""

import re
from typing import Final

from qsuper.translate.site import Site

_X86_NAMES: Final = """
3dnow 3dnowext 3dnowprefetch abm acpi adx aes amd-no-ssb amd-psfd amd-ssbd amd-stibp amx-bf16
amx-complex amx-fp16 amx-int8 amx-tile apic arat arch-capabilities arch-lbr auto-ibrs avic avx
avx-ifma avx-ne-convert avx-vnni avx-vnni-int16 avx-vnni-int8 avx10 avx10-128 avx10-256 avx10-512
avx2 avx512-4fmaps avx512-4vnniw avx512-bf16 avx512-fp16 avx512-vp2intersect avx512-vpopcntdq
avx512bitalg avx512bw avx512cd avx512dq avx512er avx512f avx512ifma avx512pf avx512vbmi avx512vbmi2
avx512vl avx512vnni bhi-ctrl bmi1 bmi2 bus-lock-detect cid cldemote clflush clflushopt clwb clzero
cmov cmp_legacy cmpccxadd cmt core-capability cr8legacy cx16 cx8 dca ddpd-u de decodeassists ds
ds_cpl dtes64 eraps erms est extapic f16c fb-clear fbsdp-no fdp-excptn-only flush-l1d flushbyasid
fma fma4 fpu fred fsgsbase fsrc fsrm fsrs fxsr fxsr_opt fzrm gds-no gfni hle ht hypervisor ia64
ibpb ibpb-brtype ibrs ibrs-all ibs intel-psfd intel-pt intel-pt-lip invpcid invtsc ipred-ctrl la57
lahf_lm lam lbrv lfence-always-serializing lkgs lm lwp mbm_local mbm_total mca mcdt-no mce md-clear
mds-no misalignsse mmx mmxext monitor movbe movdir64b movdiri mpx msr mtrr no-nested-data-bp
nodeid_msr npt nrip-save null-sel-clr-base nx ospke osvw osxsave overflow-recov pae pat
pause-filter pbe pbrsb-no pcid pclmuldq pcommit pconfig pdcm pdpe1gb perfctr_core perfctr_nb
perfmon-v2 pfthreshold pge pks pku pn pni popcnt prefetchiti pschange-mc-no psdp-no pse pse36
rdctl-no rdpid rdrand rdseed rdtscp rfds-clear rfds-no rrsba-ctrl rsba rtm sbdr-ssdp-no sbpb sep
serialize sgx sgx-aex-notify sgx-debug sgx-edeccssa sgx-exinfo sgx-kss sgx-mode64 sgx-provisionkey
sgx-tokenkey sgx1 sgx2 sgxlc sha-ni sha512 skinit skip-l1dfl-vmentry sm3 sm4 smap smep smx
spec-ctrl split-lock-detect srso-no srso-user-kernel-no ss ssb-no ssbd sse sse2 sse4.1 sse4.2 sse4a
ssse3 stibp stibp-always-on succor svm svm-lock svme-addr-chk syscall taa-no tbm tce tm tm2 topoext
tsc tsc-deadline tsc-scale tsc_adjust tsx-ctrl tsx-ldtrk umip v-vmsave-vmload vaes vgif virt-ssbd
vmcb-clean vme vmx vmx-activity-hlt vmx-activity-shutdown vmx-activity-wait-sipi vmx-any-errcode
vmx-apicv-register vmx-apicv-vid vmx-apicv-x2apic vmx-apicv-xapic vmx-cr3-load-noexit
vmx-cr3-store-noexit vmx-cr8-load-exit vmx-cr8-store-exit vmx-desc-exit vmx-enable-user-wait-pause
vmx-encls-exit vmx-entry-ia32e-mode vmx-entry-load-bndcfgs vmx-entry-load-efer vmx-entry-load-fred
vmx-entry-load-pat vmx-entry-load-perf-global-ctrl vmx-entry-load-pkrs vmx-entry-load-rtit-ctl
vmx-entry-noload-debugctl vmx-ept vmx-ept-1gb vmx-ept-2mb vmx-ept-advanced-exitinfo
vmx-ept-execonly vmx-eptad vmx-eptp-switching vmx-exit-ack-intr vmx-exit-clear-bndcfgs
vmx-exit-clear-rtit-ctl vmx-exit-load-efer vmx-exit-load-pat vmx-exit-load-perf-global-ctrl
vmx-exit-load-pkrs vmx-exit-nosave-debugctl vmx-exit-save-efer vmx-exit-save-pat
vmx-exit-save-preemption-timer vmx-exit-secondary-ctls vmx-flexpriority vmx-hlt-exit vmx-ins-outs
vmx-intr-exit vmx-invept vmx-invept-all-context vmx-invept-single-context vmx-invlpg-exit
vmx-invpcid-exit vmx-invvpid vmx-invvpid-all-context vmx-invvpid-single-addr vmx-io-bitmap
vmx-io-exit vmx-monitor-exit vmx-movdr-exit vmx-msr-bitmap vmx-mtf vmx-mwait-exit
vmx-nested-exception vmx-nmi-exit vmx-page-walk-4 vmx-page-walk-5 vmx-pause-exit vmx-ple vmx-pml
vmx-posted-intr vmx-preemption-timer vmx-rdpmc-exit vmx-rdrand-exit vmx-rdseed-exit vmx-rdtsc-exit
vmx-rdtscp-exit vmx-secondary-ctls vmx-shadow-vmcs vmx-store-lma vmx-true-ctls vmx-tsc-offset
vmx-tsc-scaling vmx-unrestricted-guest vmx-vintr-pending vmx-vmfunc vmx-vmwrite-vmexit-fields
vmx-vnmi vmx-vnmi-pending vmx-vpid vmx-wbinvd-exit vmx-xsaves vmx-zero-len-inject vnmi vpclmulqdq
waitpkg wbnoinvd wdt wrmsrns x2apic xfd xgetbv1 xop xsave xsavec xsaveerptr xsaveopt xsaves xtpr
zero-fcs-fds
"""
_X86: Final = frozenset(_X86_NAMES.split())
"""The features of x86 CPUs, spelled as libvirt spells them."""
_ARM: Final = frozenset(("pauth", "sve", *(f"sve{bits}" for bits in range(128, 2048 + 1, 128))))
_ALIEN: Final = frozenset(("cmt", "mbm_local", "mbm_total", "ospke", "osxsave"))
"""Those that QEMU has no switch for: the OS or the host's resource control decides."""
_RENAMED: Final = {"pclmuldq": "pclmulqdq"}
"""Names that QEMU spells otherwise, beyond `_` for `-`."""
_NO_MODELS: Final = ("base", "host", "max")
"""QEMU's names of no certain CPU."""
_VERSION: Final = re.compile(r"-v[0-9]+", re.ASCII)
# Features that QEMU once gave these models and took from them; libvirt switches them off by name,
# so that machine types from before don't have them either.
_REMOVED: Final = {
    "Skylake-": ("mpx",),
    "Cascadelake-": ("mpx",),
    "Icelake-": ("intel-pt", "mpx"),
}
_WITHOUT_MONITOR: Final = ("Dhyana", "EPYC", "EPYC-IBPB", "Opteron_G3")


def is_feature(name: str, site: Site) -> bool:
    """Tell whether *name* is one of the architecture's features; so are all where nobody knows."""
    if site.is_x86:
        return name in _X86
    return name in _ARM if site.is_arm else True


def is_model(name: str, site: Site) -> bool:
    """Tell whether *name* can be a certain CPU; whether there is such a one QEMU knows."""
    return not (site.is_x86 and name in _NO_MODELS)


def switch(feature: str, site: Site) -> str:
    """Give QEMU's name of a feature; empty where QEMU has none."""
    if not site.is_x86:
        return feature
    return "" if feature in _ALIEN else _RENAMED.get(feature, feature).replace("_", "-")


def removed_features(model: str) -> tuple[str, ...]:
    """Give the features that are switched off in a named model; a model's version says it all."""
    if model in _WITHOUT_MONITOR:
        return ("monitor",)
    if _VERSION.search(model):
        return ()
    found = (names for prefix, names in _REMOVED.items() if model.startswith(prefix))
    return next(found, ())
