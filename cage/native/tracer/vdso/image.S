/* image.S: the built image, as the tracer carries it. */
	.section .rodata
	.globl vdso_image, vdso_image_end
	.balign 16
vdso_image:
	.incbin VDSO_IMAGE
vdso_image_end:
	.section .note.GNU-stack,"",@progbits
