# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A boot sector for pc and q35 that says so and resets the machine, each time it is booted.

	.include "x86_64.inc"

	entry
	print text
	movb $0xfe, %al			# the keyboard controller's reset line
	outb %al, $0x64
	halt

	routines
text:	.asciz "rebooting\n"
	sector
