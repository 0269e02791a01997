# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A boot sector for pc and q35 that makes QEMU exit with status 43 = 2 * 21 + 1. It needs
# `-device isa-debug-exit,iobase=0xf4,iosize=0x04`, and powers off without it.

	.include "x86_64.inc"

	entry
	print text
	movb $21, %al
	outb %al, $0xf4
	power_off
	halt

	routines
text:	.asciz "exit 43\n"
	sector
