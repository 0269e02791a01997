# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A multiboot kernel for pc and q35 that is rung, and rings, by an ivshmem doorbell on PCI bus 0; its
# protocol stands in README.md. With a module (-initrd) it copies that to 64 MiB + 2 MiB and rings
# the supervisor's vector 0. It sleeps in between, and wakes 25 times a second by the PIT.

	.set COM1, 0x3f8
	.set IVSHMEM, 0x11101af4
	.set SUPERVISOR, 1 << 16	# as a doorbell: peer << 16 | vector
	.set PRIMARY, 2
	.set PLACE, 66 << 20		# where the module goes
	.set APIC, 0xfee00000
	.set IDT, 0x80000
	.set STACK, 0x90000
	.set MSI, 0x40			# interrupt vector of the doorbell's vector 0
	.set VECTORS, 4
	# The peer's slot in the memory, 64 bytes each.
	.set ANSWER, 16			# what to ring in answer, by vector
	.set READY, 32
	.set TICK, 36			# what to ring 25 times a second
	.set RESULT, 40			# what vector 2 prints
	.set REQUEST, 44		# counts the ticks that rang
	# ivshmem's registers
	.set IVPOSITION, 8
	.set DOORBELL, 12

	.code32
	.globl _start
_start:	jmp boot
	.align 4
header:	.long 0x1badb002, 1 << 16, -(0x1badb002 + (1 << 16))
	.long header, _start, 0, 0, _start

boot:	movl $STACK, %esp
	movl %ebx, info
	lgdt gdtr
	ljmp $8, $1f
1:	movw $16, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $0x80000000, %esi		# PCI configuration address: bus 0, slot 0
2:	movl %esi, %eax
	call pci
	inl %dx, %eax
	cmpl $IVSHMEM, %eax
	je 3f
	addl $1 << 11, %esi
	cmpl $0x80010000, %esi
	jb 2b
	movl $lost, %esi
	call puts
	cli
	hlt

3:	leal 4(%esi), %eax		# memory and bus master on
	call pci
	movl $6, %eax
	outl %eax, %dx
	leal 0x10(%esi), %eax
	call bar
	movl %eax, regs
	leal 0x18(%esi), %eax
	call bar
	movl %eax, memory
	leal 0x14(%esi), %eax
	call bar
	movl $MSI, %ecx
4:	movl $APIC, (%eax)		# the MSI-X table
	movl $0, 4(%eax)
	movl %ecx, 8(%eax)
	movl $0, 12(%eax)
	addl $16, %eax
	incl %ecx
	cmpl $MSI + VECTORS, %ecx
	jb 4b
	leal 0x34(%esi), %eax		# along the list of capabilities, to MSI-X
	call pci
	inl %dx, %eax
5:	movzbl %al, %ecx
	andl $0xfc, %ecx
	leal (%esi, %ecx), %eax
	call pci
	inl %dx, %eax
	cmpb $0x11, %al
	je 6f
	movb %ah, %al
	jmp 5b
6:	orl $1 << 31, %eax		# MSI-X on
	movl %eax, %edi
	leal (%esi, %ecx), %eax
	call pci
	movl %edi, %eax
	outl %eax, %dx

	movl $IDT, %edi			# interrupts: the PIT's, the doorbell's, and others that just return
	movl $256, %ecx
	movl $return, %eax
7:	call gate
	loop 7b
	movl $IDT + 0x20 * 8, %edi
	movl $tick, %eax
	call gate
	movl $IDT + MSI * 8, %edi
	movl $rung0, %eax
	call gate
	movl $rung1, %eax
	call gate
	movl $rung2, %eax
	call gate
	movl $rung3, %eax
	call gate
	lidt idtr
	movl $pic, %esi
	movl $pic_end - pic, %ecx
	xorl %edx, %edx
8:	lodsb				# port, value
	movb %al, %dl
	lodsb
	outb %al, %dx
	subl $2, %ecx
	jnz 8b
	movl $0x1ff, APIC + 0xf0	# the APIC on

	movl $name, %esi
	call puts
	movl regs, %ebx
	movl IVPOSITION(%ebx), %eax
	pushl %eax
	call putn
	movb $'\n', %al
	call putc
	popl %eax
	movl %eax, %edi
	shll $6, %edi
	addl memory, %edi
	movl %edi, slot
	movl info, %ebx
	testb $8, (%ebx)
	jz 9f
	cmpl $0, 20(%ebx)
	jne firmware
9:	cmpl $PRIMARY, %eax
	ja 10f
	jb ready
	movl $(PRIMARY + 1) << 16, TICK(%edi)
	jmp ready
10:	movl $PRIMARY << 16, ANSWER(%edi)
	jmp ready

firmware:
	movl 24(%ebx), %ebx		# the first module: start, end
	movl (%ebx), %esi
	movl 4(%ebx), %ecx
	subl %esi, %ecx
	movl $PLACE, %edi
	cld
	rep movsb
	movl $copied, %esi
	call puts
	movl regs, %ebx
	movl $SUPERVISOR, DOORBELL(%ebx)
	movl slot, %edi
ready:	movl $1, READY(%edi)
	sti
11:	hlt
	jmp 11b

	.irp number, 0, 1, 2, 3
rung\number:
	pushal
	movl $\number, %ebx
	jmp rung
	.endr
rung:	movl $0, APIC + 0xb0		# end of interrupt
	movl slot, %edi
	incl (%edi, %ebx, 4)
	testl %ebx, %ebx
	jnz 12f
	movl (%edi), %eax
	movl $signal, %esi
	call say
12:	cmpl $2, %ebx
	jne 13f
	movl RESULT(%edi), %eax
	movl $result, %esi
	call say
13:	movl ANSWER(%edi, %ebx, 4), %eax
	jmp 14f
tick:	pushal
	movb $0x20, %al
	outb %al, $0x20
	movl slot, %edi
	movl TICK(%edi), %eax
	testl %eax, %eax
	jz 15f
	incl REQUEST(%edi)
14:	testl %eax, %eax
	jz 15f
	movl regs, %ecx
	movl %eax, DOORBELL(%ecx)
15:	popal
return:	iret

pci:	movw $0xcf8, %dx		# address %eax; its data is at port %dx
	andl $~3, %eax
	outl %eax, %dx
	movw $0xcfc, %dx
	ret
bar:	call pci			# the base address at %eax
	inl %dx, %eax
	andl $~15, %eax
	ret
gate:	movw %ax, (%edi)		# an interrupt gate for %eax at %edi, and on to the next
	movw $8, 2(%edi)
	movw $0x8e00, 4(%edi)
	movl %eax, %edx
	shrl $16, %edx
	movw %dx, 6(%edi)
	addl $8, %edi
	ret
say:	pushl %eax			# the text at %esi, the number in %eax, and a new line
	call puts
	popl %eax
	call putn
	movb $'\n', %al
	jmp putc
puts:	lodsb
	testb %al, %al
	jz 16f
	call putc
	jmp puts
16:	ret
putc:	pushl %eax
	movw $COM1 + 5, %dx
17:	inb %dx, %al
	testb $0x20, %al		# until the transmitter is empty
	jz 17b
	popl %eax
	movw $COM1, %dx
	outb %al, %dx
	ret
putn:	xorl %edx, %edx			# the number in %eax, in decimal
	movl $10, %ecx
	divl %ecx
	pushl %edx
	testl %eax, %eax
	jz 18f
	call putn
18:	popl %eax
	addb $'0', %al
	jmp putc

	.align 8
gdt:	.quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr:	.word 23
	.long gdt
idtr:	.word 256 * 8 - 1
	.long IDT
info:	.long 0				# multiboot's
regs:	.long 0
memory:	.long 0
slot:	.long 0
pic:	.byte 0x20, 0x11, 0x21, 0x20, 0x21, 4, 0x21, 1, 0x21, 0xfe	# the PIC: IRQ 0 is vector 0x20
	.byte 0xa0, 0x11, 0xa1, 0x28, 0xa1, 2, 0xa1, 1, 0xa1, 0xff
	.byte 0x43, 0x34, 0x40, (1193182 / 25) & 0xff, 0x40, (1193182 / 25) >> 8	# the PIT: 25 Hz
pic_end:
name:	.asciz "mailbox "
lost:	.asciz "no doorbell\n"
copied:	.asciz "firmware copied\n"
signal:	.asciz "signal "
result:	.asciz "answer "
