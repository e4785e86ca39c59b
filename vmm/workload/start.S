/* SPDX-License-Identifier: MIT */
/*
 * A bare-metal guest's beginning: PVH entry (32-bit, paging off), page tables that map the first 4 GiB
 * to themselves, long mode, then guest_main. Layout of the GDT: guest.h.
 */
	.section .note.pvh, "a", @note
	.align 4
	.long 4, 8, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad start

	.text
	.code32
	.globl start
start:
	cli
	mov %ebx, start_info
	mov $stack_top, %esp
	/* Level 4 and 3, one entry and four; level 2: 2048 pages of 2 MiB. */
	movl $(table3 + 7), table4
	mov $table2 + 7, %eax
	mov $table3, %edi
	mov $4, %ecx
1:	mov %eax, (%edi)
	add $4096, %eax
	add $8, %edi
	loop 1b
	mov $0x83, %eax
	mov $table2, %edi
	mov $2048, %ecx
1:	mov %eax, (%edi)
	add $0x200000, %eax
	add $8, %edi
	loop 1b
	mov $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	mov $table4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x901, %eax /* SCE, LME, NXE */
	wrmsr
	mov $0x80010031, %eax /* PG, WP, NE, ET, PE */
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $0x08, $long_mode

	.code64
long_mode:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov $stack_top, %rsp
	call guest_main
	cli
1:	hlt
	jmp 1b

/* Vectors 0 to 31 and 0x80: push what the processor did not, then the vector. */
	.macro vector number
	.align 16
	.if !(\number == 8 || (\number >= 10 && \number <= 14) || \number == 17)
	push $0
	.endif
	push $\number
	jmp trap_common
	.endm
	.globl vectors
	.align 16
vectors:
	.altmacro
	number = 0
	.rept 32
	vector %number
	number = number + 1
	.endr
	.noaltmacro

/* To where trap_catch was called, with what happened in `trap_seen`. */
trap_common:
	cld
	pop trap_seen
	pop trap_seen + 8
	pop trap_seen + 16 /* rip */
	pop trap_seen + 24 /* cs */
	pop trap_seen + 32 /* rflags */
	pop trap_seen + 40 /* rsp */
	pop trap_seen + 48 /* ss */
	mov %cr2, %rax
	mov %rax, trap_seen + 56
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov catch_rsp, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* trap_catch(fn, argument): call fn; returns here after its return or at its first trap. */
	.globl trap_catch
trap_catch:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, catch_rsp
	movq $-1, trap_seen
	mov %rdi, %rax
	mov %rsi, %rdi
	sub $8, %rsp
	call *%rax
	add $8, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* user_run(rip, rsp): to level 3 by IRETQ; comes back by a trap only. */
	.globl user_run
user_run:
	push $0x23
	push %rsi
	push $0x2
	push $0x2b
	push %rdi
	iretq

	.data
	.align 16
	.globl gdt
gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* 08: code, 64-bit */
	.quad 0x00cf93000000ffff /* 10: data */
	.quad 0x00cffb000000ffff /* 18: user code, 32-bit */
	.quad 0x00cff3000000ffff /* 20: user data */
	.quad 0x00affb000000ffff /* 28: user code, 64-bit */
	.quad 0x00cf9b000000ffff /* 30: code, 32-bit */
	.quad 0                  /* 38: task state */
	.quad 0
	.quad 0x0040930000000fff /* 48: data of 4 KiB */
	.skip 6 * 8		 /* 50: a guest's own */
gdt_end:
	.globl gdt_pointer
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt

	.bss
	.align 4096
	.globl table4
table4:	.skip 4096
table3:	.skip 4096
	.globl table2
table2:	.skip 4 * 4096
	.skip 16384
stack_top:
	.globl trap_seen, catch_rsp, start_info
start_info:	.skip 8
trap_seen:	.skip 64
catch_rsp:	.skip 8
	.section .note.GNU-stack, "", @progbits
