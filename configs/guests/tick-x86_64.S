# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A boot sector for pc and q35 that counts on COM1: "tick 0", "tick 1", ... 25 a second. It sleeps
# in between. With POWERBUTTON defined it powers off when the ACPI power button is pressed.

	.include "x86_64.inc"

	entry
	.ifdef POWERBUTTON
	movw $PM1_STS + 2, %dx
	movw $PWRBTN, %ax		# QEMU keeps the press only where it is enabled
	outw %ax, %dx
	.endif
	tick_by_pit
	xorl %ebx, %ebx
again:	print text
	movl %ebx, %eax
	call putn
	movb $'\n', %al
	call putc
	incl %ebx
	sleep
	.ifdef POWERBUTTON
	movw $PM1_STS, %dx
	inw %dx, %ax
	testw $PWRBTN, %ax
	jz again
	print bye
	power_off
	halt
	.else
	jmp again
	.endif

	routines
text:	.asciz "tick "
	.ifdef POWERBUTTON
bye:	.asciz "power button\n"
	.endif
	sector
