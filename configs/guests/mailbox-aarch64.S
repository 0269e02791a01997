// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A raw image for the 64-bit `virt` machine with a GIC of version 2 that is rung, and rings, by an
// ivshmem doorbell on PCI bus 0; its protocol stands in README.md. As firmware (-bios) it waits for
// signals. As a kernel with an initrd, on a machine with 96 MiB, it copies the first 4 KiB of that
// to 64 MiB + 2 MiB and rings the supervisor's vector 0.

	.set UART, 0x09000000
	.set ECAM, 0x4010000000
	.set GICD, 0x08000000
	.set GICC, 0x08010000
	.set V2M, 0x08020000		// turns MSIs into SPIs
	.set REGS, 0x10000000		// where the device's three regions go
	.set TABLE, 0x10001000
	.set MEMORY, 0x20000000
	.set IVSHMEM, 0x11101af4
	.set SUPERVISOR, 1 << 16	// as a doorbell: peer << 16 | vector
	.set PRIMARY, 2
	.set VECTORS, 4
	.set INITRD, 0x43000000		// half of the machine's memory
	.set PLACE, 0x44200000
	// The peer's slot in the memory, 64 bytes each.
	.set ANSWER, 16
	.set READY, 32
	.set RESULT, 40
	// ivshmem's registers
	.set IVPOSITION, 8
	.set DOORBELL, 12

	.globl _start
_start:	ldr x28, =UART
	mov w0, #0x70			// 8N1, FIFO
	str w0, [x28, #0x2c]
	mov w0, #0x301			// UART, transmitter and receiver on
	str w0, [x28, #0x30]
	ldr x19, =ECAM
	ldr w1, =IVSHMEM
	mov w2, #32
1:	ldr w0, [x19]
	cmp w0, w1
	b.eq 2f
	add x19, x19, #0x8000
	subs w2, w2, #1
	b.ne 1b
	adr x1, lost
	bl puts
	b sleep

2:	ldr w0, =REGS
	str w0, [x19, #0x10]
	ldr w0, =TABLE
	str w0, [x19, #0x14]
	ldr w0, =MEMORY
	str w0, [x19, #0x18]
	str wzr, [x19, #0x1c]
	mov w0, #6			// memory and bus master on
	strh w0, [x19, #4]
	ldr x21, =REGS
	ldr x22, =MEMORY
	ldr w23, [x21, #IVPOSITION]
	add x24, x22, x23, lsl #6	// our slot
	ldr x25, =GICC
	ldr x26, =GICD
	ldr x0, =V2M
	ldr w27, [x0, #8]
	ubfx w27, w27, #16, #10		// the first SPI
	mov w0, #1
	str w0, [x26]
	str w0, [x25]
	mov w0, #0xff			// priority mask
	str w0, [x25, #4]
	mov w1, #0
3:	add w2, w27, w1			// each SPI: enabled, to CPU 0, edge-triggered
	lsr w3, w2, #5
	mov w5, #1
	lsl w5, w5, w2			// modulo 32
	add x6, x26, #0x100
	str w5, [x6, w3, uxtw #2]
	add x6, x26, #0x800
	mov w5, #1
	strb w5, [x6, w2, uxtw]
	lsr w3, w2, #4
	add x6, x26, #0xc00
	ldr w7, [x6, w3, uxtw #2]
	mov w5, #2
	lsl w4, w2, #1
	lsl w5, w5, w4
	orr w7, w7, w5
	str w7, [x6, w3, uxtw #2]
	add w1, w1, #1
	cmp w1, #VECTORS
	b.lo 3b
	ldr x4, =TABLE
	mov w5, #0
4:	ldr w6, =V2M + 0x40
	str w6, [x4]
	str wzr, [x4, #4]
	add w6, w27, w5
	str w6, [x4, #8]
	str wzr, [x4, #12]
	add x4, x4, #16
	add w5, w5, #1
	cmp w5, #VECTORS
	b.lo 4b
	ldrb w0, [x19, #0x34]		// along the list of capabilities, to MSI-X
5:	add x1, x19, w0, uxtw
	ldrb w2, [x1]
	ldrb w0, [x1, #1]
	cmp w2, #0x11
	b.ne 5b
	ldrh w2, [x1, #2]
	orr w2, w2, #0x8000
	strh w2, [x1, #2]

	adr x1, name
	mov w0, w23
	bl say
	adr x0, _start
	tbnz x0, #30, firmware		// in RAM: a kernel
	cmp w23, #PRIMARY
	b.ls ready
	mov w0, #PRIMARY << 16
	str w0, [x24, #ANSWER]
	b ready

firmware:
	ldr x0, =INITRD
	ldr x1, =PLACE
	add x2, x0, #0x1000
6:	ldr x3, [x0], #8
	str x3, [x1], #8
	cmp x0, x2
	b.lo 6b
	dsb sy
	adr x1, copied
	bl puts
	mov w0, #SUPERVISOR
	str w0, [x21, #DOORBELL]
ready:	mov w0, #1
	str w0, [x24, #READY]

sleep:	wfi				// interrupts stay masked: being pending is enough to end it
7:	ldr w20, [x25, #12]		// acknowledge
	and w19, w20, #0x3ff
	cmp w19, #1020
	b.hs sleep
	str w20, [x25, #16]		// end
	sub w19, w19, w27
	cmp w19, #VECTORS
	b.hs 7b
	ldr w0, [x24, w19, uxtw #2]
	add w0, w0, #1
	str w0, [x24, w19, uxtw #2]
	adr x1, signal
	cbz w19, 8f
	cmp w19, #2
	b.ne 9f
	ldr w0, [x24, #RESULT]
	adr x1, result
8:	bl say
9:	add x1, x24, #ANSWER
	ldr w0, [x1, w19, uxtw #2]
	cbz w0, 7b
	str w0, [x21, #DOORBELL]
	b 7b

say:	mov x9, x30			// the text at x1, the number in w0, and a new line
	mov w10, w0
	bl puts
	mov w2, #10
	mov w3, #1			// the power of ten of the first digit
10:	udiv w0, w10, w3
	cmp w0, w2
	b.lo 11f
	mul w3, w3, w2
	b 10b
11:	udiv w0, w10, w3
	msub w10, w0, w3, w10
	add w0, w0, #'0'
	str w0, [x28]
	udiv w3, w3, w2
	cbnz w3, 11b
	mov w0, #'\n'
	str w0, [x28]
	ret x9
puts:	ldrb w4, [x1], #1
	cbz w4, 12f
	str w4, [x28]
	b puts
12:	ret

	.ltorg
name:	.asciz "mailbox "
lost:	.asciz "no doorbell\n"
copied:	.asciz "firmware copied\n"
signal:	.asciz "signal "
result:	.asciz "answer "
