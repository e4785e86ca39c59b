/* SPDX-License-Identifier: MIT */
/* Out of long mode, and back by the first trap: legacy.h. */
	.set JOB_EIP, 28
	.set JOB_CS, 32
	.set JOB_EFLAGS, 36
	.set JOB_ESP, 40
	.set JOB_SS, 44
	.set JOB_ES, 48
	.set JOB_DS, 52
	.set JOB_FS, 56
	.set JOB_GS, 60
	.set JOB_CR0, 64
	.set JOB_CR3, 68
	.set JOB_CR4, 72
	.set JOB_LDT, 76
	.set JOB_REAL, 80
	.set JOB_SIZE, 84
	.set LOW, 0x30000
	.set LOW_SEG, 0x3000
	.set EFER, 0xc0000080

	.text
	.code64
	.globl legacy_enter
legacy_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, long_rsp
	mov %cr0, %rax
	mov %eax, long_cr0
	mov %cr4, %rax
	mov %eax, long_cr4
	lgdt legacy_gdt_pointer
	lidt legacy_idt_pointer
	pushq $0x08
	pushq $1f
	lretq
	.code32
1:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov %eax, %ss
	mov $legacy_stack_top, %esp
	mov %cr0, %eax
	and $0x7fffffff, %eax
	mov %eax, %cr0
	mov $EFER, %ecx
	rdmsr
	and $~0x100, %eax
	wrmsr
	mov job + JOB_CR4, %eax
	mov %eax, %cr4
	mov job + JOB_CR3, %eax
	mov %eax, %cr3
	mov job + JOB_CR0, %eax
	mov %eax, %cr0
	jmp 1f
1:	andb $~2, legacy_gdt + 0x28 + 5
	mov $0x28, %eax
	ltr %ax
	lldt job + JOB_LDT
	cmpl $0, job + JOB_REAL
	je 1f
	ljmp $0x30, $real_enter - low_start
1:	testl $0x20000, job + JOB_EFLAGS
	jz 1f
	pushl job + JOB_GS
	pushl job + JOB_FS
	pushl job + JOB_DS
	pushl job + JOB_ES
	jmp 2f
1:	mov job + JOB_ES, %es
	testb $3, job + JOB_CS
	jnz 2f
	mov job + JOB_SS, %ss
	mov job + JOB_ESP, %esp
	jmp 3f
2:	pushl job + JOB_SS
	pushl job + JOB_ESP
3:	pushl job + JOB_EFLAGS
	pushl job + JOB_CS
	pushl job + JOB_EIP
	mov job + 0, %eax
	mov job + 4, %ebx
	mov job + 8, %ecx
	mov job + 12, %edx
	mov job + 16, %esi
	mov job + 20, %edi
	mov job + 24, %ebp
	testl $0x20000, job + JOB_EFLAGS
	jnz 1f
	mov job + JOB_FS, %fs
	mov job + JOB_GS, %gs
	mov job + JOB_DS, %ds
1:	iretl

/* 256 stubs, 16 bytes each: push what the processor did not, and the vector. */
	.macro legacy_vector number
	.align 16
	.if !(\number == 8 || (\number >= 10 && \number <= 14) || \number == 17)
	push $0
	.endif
	push $\number
	jmp legacy_common
	.endm
	.globl legacy_vectors
	.align 16
legacy_vectors:
	.altmacro
	number = 0
	.rept 256
	legacy_vector %number
	number = number + 1
	.endr
	.noaltmacro

/* Level 0's stack is flat. */
legacy_common:
	cld
	push %ds
	push %es
	push %fs
	push %gs
	pusha
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %esp, %esi
	mov $legacy_seen, %edi
	mov $23, %ecx
	rep movsl
	lea 68(%esp), %eax /* behind EFLAGS */
	mov %eax, legacy_seen + 92
legacy_back:
	mov %cr0, %eax
	mov %eax, legacy_seen + 96
	mov %cr2, %eax
	mov %eax, legacy_seen + 100
	xor %eax, %eax
	str %ax
	mov %eax, legacy_seen + 104
	mov %cr0, %eax
	and $0x7fffffff, %eax
	mov %eax, %cr0
	mov long_cr4, %eax
	mov %eax, %cr4
	mov $table4, %eax
	mov %eax, %cr3
	mov $EFER, %ecx
	rdmsr
	or $0x100, %eax
	wrmsr
	mov long_cr0, %eax
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $0x08, $1f
	.code64
1:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	lldt %ax
	mov long_rsp, %rsp
	pushq $2
	popfq
	lidt idt_pointer
	andb $~2, gdt + 0x38 + 5
	mov $0x38, %eax
	ltr %ax
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* What follows is copied to LOW, and runs there with 16 bits. */
	.globl low_start, low_end, low_job, low_seen, real_vectors
	.code16
	.align 16
low_start:
	int $0x61 /* offset 0: nobody should come here */
real_enter: /* still protected, CS is 0x30 */
	mov $0x38, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %gs
	mov %ax, %ss
	/* FS keeps its 4 GiB: "unreal" mode. */
	mov %cr0, %eax
	and $0xfe, %al
	mov %eax, %cr0
	ljmp $LOW_SEG, $1f - low_start
1:	lidtl %cs:real_idt - low_start
	mov %cs:low_job - low_start + JOB_SS, %ss
	mov %cs:low_job - low_start + JOB_ESP, %esp
	pushw %cs:low_job - low_start + JOB_EFLAGS
	pushw %cs:low_job - low_start + JOB_CS
	pushw %cs:low_job - low_start + JOB_EIP
	mov %cs:low_job - low_start + JOB_ES, %es
	mov %cs:low_job - low_start + JOB_DS, %ds
	mov %cs:low_job - low_start + JOB_FS, %fs
	mov %cs:low_job - low_start + JOB_GS, %gs
	mov %cs:low_job - low_start + 0, %eax
	mov %cs:low_job - low_start + 4, %ebx
	mov %cs:low_job - low_start + 8, %ecx
	mov %cs:low_job - low_start + 12, %edx
	mov %cs:low_job - low_start + 16, %esi
	mov %cs:low_job - low_start + 20, %edi
	mov %cs:low_job - low_start + 24, %ebp
	iretw

	.macro real_vector number
	.align 8
	pushw $\number
	jmp real_common
	.endm
	.align 8
real_vectors:
	.altmacro
	number = 0
	.rept 256
	real_vector %number
	number = number + 1
	.endr
	.noaltmacro

real_common:
	cld
	pushw %ds
	pushw %es
	pushw %fs
	pushw %gs
	pushal
	mov %ss, %ax
	mov %ax, %ds
	mov %cs, %ax
	mov %ax, %es
	mov %sp, %si
	mov $low_seen - low_start, %di
	mov $24, %cx
	rep movsw
	mov %ax, %ds
	mov %sp, low_seen - low_start + 48
	mov %ss, low_seen - low_start + 50
	lgdtl real_gdt - low_start
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $0x08, $1f
	.code32
	.pushsection .text
1:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $legacy_stack_top, %esp
	/* STR needs it; the task register is as before. */
	jmp legacy_back
	.popsection

	.align 8
real_idt:
	.word 0x3ff
	.long LOW + 0x3000 /* the vectors: legacy.c puts them there */
	.align 8
real_gdt:
	.word 32 * 8 - 1
	.long legacy_gdt
	.align 8
low_job:
	.skip JOB_SIZE
	.align 8
low_seen:
	.skip 52
low_end:

	.code64
	.data
	.align 8
legacy_gdt_pointer:
	.word 32 * 8 - 1
	.quad legacy_gdt
legacy_idt_pointer:
	.word 256 * 8 - 1
	.quad legacy_idt

	.bss
	.align 16
long_rsp:	.skip 8
long_cr0:	.skip 4
long_cr4:	.skip 4
	.align 16
	.skip 4096
	.globl legacy_stack_top, legacy_stack3_top
legacy_stack_top:
	.skip 16
	.skip 4096
legacy_stack3_top:
	.skip 16
	.section .note.GNU-stack, "", @progbits
