# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A raw image for the riscv64 `virt` machine, in place of its firmware (-bios), that counts on its
# 16550: "tick 0", "tick 1", ... 25 a second. It sleeps in between, on the machine timer, whose
# interrupt stays masked: being pending is enough to end a WFI. Uses no memory.

	.set UART, 0x10000000
	.set MTIMECMP, 0x02004000	# hart 0
	.set MTIME, 0x0200bff8
	.set INTERVAL, 10000000 / 25	# the clock runs at 10 MHz
	.set MTIE, 1 << 7

	.option norelax
	.globl _start
_start:	csrr t0, mhartid
	bnez t0, 6f			# hart 0 does the work
	li s0, UART
	li s1, MTIMECMP
	li s2, MTIME
	li s3, 0
	li t0, MTIE
	csrw mie, t0
	csrci mstatus, 1 << 3		# MIE

again:	la a1, text
1:	lbu t0, 0(a1)
	beqz t0, 2f
	sb t0, 0(s0)
	addi a1, a1, 1
	j 1b
2:	li t2, 10
	li t3, 1			# the power of ten of the first digit
3:	divu t0, s3, t3
	bltu t0, t2, 4f
	mul t3, t3, t2
	j 3b
4:	mv t4, s3
5:	divu t0, t4, t3
	remu t4, t4, t3
	addi t0, t0, '0'
	sb t0, 0(s0)
	divu t3, t3, t2
	bnez t3, 5b
	li t0, '\n'
	sb t0, 0(s0)
	addi s3, s3, 1

	ld t0, 0(s2)
	li t1, INTERVAL
	add t1, t1, t0
	sd t1, 0(s1)
7:	wfi
	csrr t0, mip
	andi t0, t0, MTIE
	beqz t0, 7b			# until the time has come
	j again

6:	csrw mie, zero
	wfi
	j 6b

text:	.asciz "tick "
