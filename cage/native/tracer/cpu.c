/* cpu.c: the processor that the program sees, the same on every machine: one core of the class x86-64-v2, as
 * /proc/cpuinfo says. No AVX, XSAVE, BMI, RDRAND, no hypervisor: libraries choose the code that each processor of this
 * class runs with the same results. */
#include "code.h"

#include <string.h>

struct leaf { uint32_t a, b, c, d; };

#define LAST 0x15u
#define LAST_EXTENDED 0x80000008u
#define BRAND "DockLock x86-64-v2"

/* Caches, for leaf 4: type | level << 5 | self-initialising; 8 ways of 64-byte lines; sets. 32 KiB twice, 1 MiB. */
static const struct leaf caches[] = {
	{0x121, 7u << 22 | 63, 63, 0},
	{0x122, 7u << 22 | 63, 63, 0},
	{0x143, 7u << 22 | 63, 2047, 0},
};

static struct leaf leaf_of(uint32_t leaf, uint32_t sub)
{
	static const char brand[48] = BRAND;
	struct leaf l = {0, 0, 0, 0};
	switch (leaf) {
	case 0:
		return (struct leaf){LAST, 0x756e6547, 0x6c65746e, 0x49656e69}; /* GenuineIntel */
	case 1: /* family 6, model 26, stepping 0; lines of 64 bytes, one logical processor; sse3, ssse3, cx16, sse4.1, sse4.2, popcnt */
		return (struct leaf){0x000106a0, 0x00010800, 0x00982201, CPU_HWCAP};
	case 2: /* the same caches by descriptor: 32 KiB of data, 32 KiB of code, 1 MiB. "See leaf 4" would have each program that starts ask that one thirty times */
		return (struct leaf){0x2c308701, 0, 0, 0};
	case 4:
		return sub < sizeof caches / sizeof *caches ? caches[sub] : l;
	case 0xb: /* one thread a core, one core */
		l.c = sub & 0xff;
		if (sub < 2) {
			l.b = 1;
			l.c |= (sub + 1) << 8;
		}
		return l;
	case 0x15: /* the counter goes at 1 GHz */
		return (struct leaf){1, 1, 1000000000, 0};
	case 0x80000000:
		return (struct leaf){LAST_EXTENDED, 0, 0, 0};
	case 0x80000001: /* lahf; syscall, nx, long mode */
		return (struct leaf){0, 0, 1, 0x20100800};
	case 0x80000002: case 0x80000003: case 0x80000004:
		memcpy(&l, brand + 16 * (leaf - 0x80000002), sizeof l);
		return l;
	case 0x80000006: /* level 2: 1 MiB, 8 ways, lines of 64 bytes */
		l.c = 1024u << 16 | 6u << 12 | 64;
		return l;
	case 0x80000008: /* 46 bits physical, 48 virtual */
		l.a = 0x302e;
		return l;
	}
	return l; /* also past the last one, where a processor repeats another */
}

void cpu_cpuid(struct user_regs_struct *r)
{
	struct leaf l = leaf_of((uint32_t)r->rax, (uint32_t)r->rcx);
	r->rax = l.a;
	r->rbx = l.b;
	r->rcx = l.c;
	r->rdx = l.d;
}

void cpu_time(struct user_regs_struct *r, uint64_t ns, bool with_processor)
{
	r->rax = (uint32_t)ns;
	r->rdx = ns >> 32;
	if (with_processor)
		r->rcx = 0;
}

void cpu_give(struct user_regs_struct *r, const struct insn *in, uint64_t value, bool carry)
{
	unsigned long long *const to[16] = {&r->rax, &r->rcx, &r->rdx, &r->rbx, &r->rsp, &r->rbp, &r->rsi, &r->rdi,
					    &r->r8, &r->r9, &r->r10, &r->r11, &r->r12, &r->r13, &r->r14, &r->r15};
	unsigned n = (in->modrm & 7) | (in->rex & 1) << 3;
	if (!(in->rex & 8) && in->data16)
		*to[n] = (*to[n] & ~0xffffull) | (value & 0xffff);
	else
		*to[n] = in->rex & 8 ? value : (uint32_t)value;
	if (carry)
		r->eflags = (r->eflags & ~0x8d5ull) | 1; /* of OF, SF, ZF, AF, PF and CF only CF is set */
}
