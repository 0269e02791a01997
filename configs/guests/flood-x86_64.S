# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A boot sector for pc and q35 that writes numbered lines to COM1 as fast as they are taken.

	.include "x86_64.inc"

	entry
	xorl %ebx, %ebx
again:	print text
	movl %ebx, %eax
	call putn
	movb $'\n', %al
	call putc
	incl %ebx
	jmp again

	routines
text:	.asciz "flood "
	sector
