# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A boot sector for pc and q35 that computes without end and touches no device: it prints `busy`, then
# counts in a register and a word of memory.

	.include "x86_64.inc"

	entry
	print text
again:	incl %ebx
	addl %ebx, count
	jmp again

	routines
text:	.asciz "busy\n"
	.balign 4
count:	.long 0
	sector
