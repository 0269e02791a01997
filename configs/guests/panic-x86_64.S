# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A boot sector for pc and q35 that says so and reports a panic to QEMU's pvpanic device
# (<panic model='isa'/>).

	.include "x86_64.inc"

	entry
	print text
	movw $0x505, %dx
	movb $1, %al			# PVPANIC_PANICKED
	outb %al, %dx
	halt

	routines
text:	.asciz "panicking\n"
	sector
