@ SPDX-License-Identifier: LGPL-2.1-or-later
@
@ A raw image for the 32-bit `virt` machine that counts on its PL011: "tick 0", "tick 1", ... 25 a
@ second. It sleeps in between, on the virtual timer, whose interrupt stays masked: being pending is
@ enough to end a WFI. Runs where it is put (-bios, -kernel, loader) and uses no memory.
@ With POWERBUTTON defined it powers off when the power button is pressed: GPIO 3 of the PL061.

	.arch armv7ve
	.syntax unified
	.arm
	.set UART, 0x09000000
	.set GPIO, 0x09030000
	.set GICD, 0x08000000
	.set GICC, 0x08010000
	.set TIMER, 1 << 27		@ the virtual timer's interrupt: PPI 11

	.globl _start
_start:	mov r8, #UART
	mov r0, #0x70			@ 8N1, FIFO
	str r0, [r8, #0x2c]
	movw r0, #0x301			@ UART, transmitter and receiver on
	str r0, [r8, #0x30]

	mov r1, #GICD
	ldr r3, =GICC
	mov r0, #TIMER
	str r0, [r1, #0x100]		@ ISENABLER0
	mov r0, #0xff
	str r0, [r3, #4]		@ priority mask
	mov r0, #1
	str r0, [r1]
	str r0, [r3]

	.ifdef POWERBUTTON
	ldr r9, =GPIO
	mov r0, #1 << 3
	str r0, [r9, #0x40c]		@ rising edge
	str r0, [r9, #0x41c]		@ forget earlier ones
	.endif
	mrc p15, 0, r7, c14, c0, 0	@ CNTFRQ
	mov r0, #25
	udiv r7, r7, r0
	mcr p15, 0, r7, c14, c3, 0	@ CNTV_TVAL
	mov r0, #1
	mcr p15, 0, r0, c14, c3, 1	@ CNTV_CTL
	isb
	mov r10, #0

again:	adr r1, text
	bl puts
	mov r2, #10
	mov r3, #1			@ the power of ten of the first digit
1:	udiv r0, r10, r3
	cmp r0, r2
	blo 2f
	mul r3, r2, r3
	b 1b
2:	mov r4, r10
3:	udiv r0, r4, r3
	mls r4, r0, r3, r4
	add r0, r0, #'0'
	str r0, [r8]
	udiv r3, r3, r2
	cmp r3, #0
	bne 3b
	mov r0, #'\n'
	str r0, [r8]
	add r10, r10, #1

4:	wfi
	mrc p15, 0, r0, c14, c3, 1
	tst r0, #4			@ until the timer's condition is met
	beq 4b
	mcr p15, 0, r7, c14, c3, 0
	isb
	.ifdef POWERBUTTON
	ldr r0, [r9, #0x414]		@ edges seen
	tst r0, #1 << 3
	beq again
	adr r1, bye
	bl puts
	ldr r0, =0x84000008		@ PSCI SYSTEM_OFF
	hvc #0
5:	wfi
	b 5b
	.else
	b again
	.endif

puts:	ldrb r0, [r1], #1
	cmp r0, #0
	bxeq lr
	str r0, [r8]
	b puts

	.ltorg
text:	.asciz "tick "
	.ifdef POWERBUTTON
bye:	.asciz "power button\n"
	.endif
