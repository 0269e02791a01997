// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A raw image for the 64-bit `virt` machine that counts on its PL011: "tick 0", "tick 1", ... 25 a
// second. It sleeps in between, on the virtual timer, whose interrupt stays masked: being pending is
// enough to end a WFI. Runs where it is put (-bios, -kernel, loader) and uses no memory.
// With POWERBUTTON defined it powers off when the power button is pressed: GPIO 3 of the PL061, which
// is there unless the machine has ACPI tables.

	.set UART, 0x09000000
	.set GPIO, 0x09030000
	.set GICD, 0x08000000
	.set GICC, 0x08010000
	.set GICR, 0x080a0000
	.set TIMER, 1 << 27		// the virtual timer's interrupt: PPI 11

	.globl _start
_start:	mov x28, #UART
	mov w0, #0x70			// 8N1, FIFO
	str w0, [x28, #0x2c]
	mov w0, #0x301			// UART, transmitter and receiver on
	str w0, [x28, #0x30]

	mov x1, #GICD
	mov w2, #TIMER
	mrs x0, ID_AA64PFR0_EL1
	tst x0, #0xf << 24		// the GIC's system registers: version 3 or later
	b.ne 1f
	mov x3, #GICC
	str w2, [x1, #0x100]		// ISENABLER0
	mov w0, #0xff
	str w0, [x3, #4]		// priority mask
	mov w0, #1
	str w0, [x1]
	str w0, [x3]
	b 3f
1:	mov w0, #0x12			// affinity routing, group 1
	str w0, [x1]
	ldr x3, =GICR
	str wzr, [x3, #0x14]		// wake the redistributor
2:	ldr w0, [x3, #0x14]
	tbnz w0, #2, 2b
	add x3, x3, #0x10000
	str w2, [x3, #0x80]		// IGROUPR0
	str w2, [x3, #0x100]		// ISENABLER0
	mov x0, #1
	msr S3_0_C12_C12_5, x0		// ICC_SRE_EL1
	isb
	mov x2, #0xff
	msr S3_0_C4_C6_0, x2		// ICC_PMR_EL1
	msr S3_0_C12_C12_7, x0		// ICC_IGRPEN1_EL1
	isb

3:	.ifdef POWERBUTTON
	mov x26, #GPIO
	mov w0, #1 << 3
	str w0, [x26, #0x40c]		// rising edge
	str w0, [x26, #0x41c]		// forget earlier ones
	.endif
	mrs x27, CNTFRQ_EL0
	mov x0, #25
	udiv x27, x27, x0
	msr CNTV_TVAL_EL0, x27
	mov x0, #1
	msr CNTV_CTL_EL0, x0
	isb
	mov x20, #0

again:	adr x1, text
	bl puts
	mov x2, #10
	mov x3, #1			// the power of ten of the first digit
4:	udiv x0, x20, x3
	cmp x0, x2
	b.lo 5f
	mul x3, x3, x2
	b 4b
5:	mov x4, x20
6:	udiv x0, x4, x3
	msub x4, x0, x3, x4
	add w0, w0, #'0'
	str w0, [x28]
	udiv x3, x3, x2
	cbnz x3, 6b
	mov w0, #'\n'
	str w0, [x28]
	add x20, x20, #1

7:	wfi
	mrs x0, CNTV_CTL_EL0
	tbz x0, #2, 7b			// until the timer's condition is met
	msr CNTV_TVAL_EL0, x27
	isb
	.ifdef POWERBUTTON
	ldr w0, [x26, #0x414]		// edges seen
	tbz w0, #3, again
	adr x1, bye
	bl puts
	ldr w0, =0x84000008		// PSCI SYSTEM_OFF
	hvc #0
8:	wfi
	b 8b
	.else
	b again
	.endif

puts:	ldrb w0, [x1], #1
	cbz w0, 9f
	str w0, [x28]
	b puts
9:	ret

	.ltorg
text:	.asciz "tick "
	.ifdef POWERBUTTON
bye:	.asciz "power button\n"
	.endif
