/* decode_places.S: instructions that must be found, each at a symbol that begins with place_, and bytes that look like
 * them and are none. */
	.text
	.globl _start
	.type _start, @function
_start:
	push %rbx
	mov $1, %eax
place_cpuid:
	cpuid
	mov $0xa20f, %ecx          /* in an immediate */
	movabs $0xf0c70fa20fa20f11, %rdx
	lea 0xa20f(%rip), %rsi     /* in a displacement */
place_rdrand32:
	rdrand %eax
	.byte 0x49                 /* REX before what follows */
place_rdrand64:
	.byte 0x0f, 0xc7, 0xf3     /* rdrand %r11 */
	.byte 0x66
place_rdseed16:
	.byte 0x0f, 0xc7, 0xfe     /* rdseed %si */
	.byte 0xf3
place_rdpid:
	.byte 0x0f, 0xc7, 0xf9     /* rdpid %rcx */
	cmpxchg8b (%rsi)           /* of the same group, in memory */
	ud2
	pop %rbx
	ret
	.size _start, .-_start

	/* A table between functions, as cryptographic code has them. */
table:
	.rept 8
	.byte 0x4b, 0x16, 0x45, 0xa7, 0x4b, 0x37, 0x8d, 0xda, 0x0e, 0x62, 0x06, 0xd4, 0x1e, 0x0f, 0xa2, 0x9a
	.endr

	/* Code without a symbol of its kind: known by decoding alone. */
bare:
	.rept 12
	mov %rdi, %rax
	add $0x12345678, %rax
	.endr
place_bare:
	cpuid
	.rept 4
	add $0x0fa20f, %rax
	.endr
	ret

	.section .rodata
	.rept 64
	.byte 0x0f, 0xa2, 0x00, 0x00
	.endr
	.section .note.GNU-stack, "", @progbits
