# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A boot sector for pc and q35 that says "ready" on COM1 and then sends back what it gets there, with
# the letters a to z in upper case. It sleeps while nothing comes.

	.include "x86_64.inc"

	entry
	wake_by 4, 0xef
	movw $COM1 + 4, %dx
	movb $0x0b, %al			# DTR, RTS, and OUT2, which lets the interrupt out
	outb %al, %dx
	movw $COM1 + 1, %dx
	movb $1, %al			# interrupt when there is something to read
	outb %al, %dx
	print text

again:	movw $COM1 + 5, %dx
	inb %dx, %al
	testb $1, %al
	jnz 1f
	sleep
	jmp again
1:	movw $COM1, %dx
	inb %dx, %al
	cmpb $'a', %al
	jb 2f
	cmpb $'z', %al
	ja 2f
	subb $'a' - 'A', %al
2:	call putc
	jmp again

	routines
text:	.asciz "ready\n"
	sector
