/* places.c: finds the instructions that are to be replaced, in the bytes of a file or of memory.
 *
 * Two bytes alone prove nothing: they may be a part of a longer instruction, or data. A find counts if decoding arrives
 * at it: from the start of the function around it where the file says where that is (.eh_frame, symbols), else from most
 * of the offsets shortly before it. Machine code falls into step within a few instructions from wherever one begins, so
 * offsets that disagree stand in data, or the find inside another instruction.
 *
 * Files come from whoever wrote the image: nothing in them is believed before it is checked against their size. */
#include "code.h"

#include <elf.h>
#include <emmintrin.h>
#include <stdlib.h>
#include <string.h>

void trouble(const char *what) __attribute__((noreturn));

#define NEAR 16  /* offsets from which decoding begins: that many bytes before */
#define FAR 64
#define FUNCTION_MAX (1u << 20) /* no start further away is of use */

void add_place(struct places *to, uint64_t at, uint8_t was)
{
	if (to->n == to->cap) {
		size_t cap = to->cap ? to->cap * 2 : 16;
		struct place *bigger = realloc(to->p, cap * sizeof *bigger);
		if (!bigger)
			trouble("memory for the places of instructions");
		to->p = bigger;
		to->cap = cap;
	}
	to->p[to->n++] = (struct place){at, was};
}

bool is_place(const uint8_t *code, size_t n, size_t at)
{
	if (at + 2 > n || code[at] != 0x0f)
		return false;
	return code[at + 1] == 0xa2 || (code[at + 1] == 0xc7 && at + 3 <= n && code[at + 2] >= 0xf0);
}

static void candidates(const uint8_t *code, size_t n, uint64_t base, struct places *to)
{
	const __m128i escape = _mm_set1_epi8(0x0f), cpuid = _mm_set1_epi8((char)0xa2), group9 = _mm_set1_epi8((char)0xc7);
	size_t i = 0;
	for (; i + 17 <= n; i += 16) {
		__m128i a = _mm_loadu_si128((const __m128i *)(code + i)), b = _mm_loadu_si128((const __m128i *)(code + i + 1));
		__m128i hit = _mm_and_si128(_mm_cmpeq_epi8(a, escape), _mm_or_si128(_mm_cmpeq_epi8(b, cpuid), _mm_cmpeq_epi8(b, group9)));
		for (unsigned m = (unsigned)_mm_movemask_epi8(hit); m; m &= m - 1) {
			size_t at = i + (size_t)__builtin_ctz(m);
			if (is_place(code, n, at))
				add_place(to, base + at, code[at + 1]);
		}
	}
	for (; i < n; i++)
		if (is_place(code, n, i))
			add_place(to, base + i, code[i + 1]);
}

enum step { ARRIVED, PASSED /* an instruction lies over the place */, LOST /* no instruction on the way */ };

/* walk decodes from `from` on and says whether it arrives at the place, prefixes of the instruction apart. */
static enum step walk(const uint8_t *code, size_t n, size_t from, size_t at)
{
	struct insn in;
	while (from <= at) {
		if (!decode(code + from, n - from, &in))
			return LOST;
		if (from + in.opcode_at == at)
			return in.map == 1 && !in.repeat_not ? ARRIVED : PASSED;
		from += in.length;
	}
	return PASSED;
}

static bool most(const uint8_t *code, size_t n, size_t at)
{
	unsigned arrived = 0, passed = 0;
	if (at < NEAR)
		return walk(code, n, 0, at) == ARRIVED;
	for (size_t back = NEAR; back <= FAR && back <= at; back++) {
		enum step s = walk(code, n, at - back, at);
		arrived += s == ARRIVED;
		passed += s == PASSED;
	}
	return arrived > 2 * passed;
}

void find_places(const uint8_t *code, size_t n, uint64_t base, struct places *to)
{
	struct places maybe = {0};
	candidates(code, n, 0, &maybe);
	for (size_t i = 0; i < maybe.n; i++)
		if (most(code, n, maybe.p[i].at))
			add_place(to, base + maybe.p[i].at, maybe.p[i].was);
	free(maybe.p);
}

/* --- ELF */

struct file {
	const uint8_t *b;
	size_t n;
	const Elf64_Phdr *ph;
	const Elf64_Shdr *sh;
	unsigned phnum, shnum;
};

static const void *at_offset(const struct file *f, uint64_t offset, uint64_t n)
{
	return offset <= f->n && n <= f->n - offset ? f->b + offset : NULL;
}

static bool open_elf(struct file *f, const uint8_t *b, size_t n)
{
	const Elf64_Ehdr *e = (const Elf64_Ehdr *)b;
	*f = (struct file){.b = b, .n = n};
	if (n < sizeof *e || memcmp(b, ELFMAG, SELFMAG) || b[EI_CLASS] != ELFCLASS64 || e->e_machine != EM_X86_64 || e->e_phentsize != sizeof *f->ph || e->e_phoff % 8)
		return false;
	f->ph = at_offset(f, e->e_phoff, e->e_phnum * sizeof *f->ph);
	f->phnum = f->ph ? e->e_phnum : 0;
	if (e->e_shentsize == sizeof *f->sh && e->e_shoff && e->e_shoff % 8 == 0)
		f->sh = at_offset(f, e->e_shoff, e->e_shnum * sizeof *f->sh);
	f->shnum = f->sh ? e->e_shnum : 0;
	return f->phnum > 0;
}

static const Elf64_Phdr *executable_segment(const struct file *f, int i)
{
	for (unsigned k = 0; k < f->phnum; k++)
		if (f->ph[k].p_type == PT_LOAD && f->ph[k].p_flags & PF_X && at_offset(f, f->ph[k].p_offset, f->ph[k].p_filesz) && i-- == 0)
			return &f->ph[k];
	return NULL;
}

static uint64_t address_of(const struct file *f, uint64_t offset)
{
	for (unsigned i = 0; i < f->phnum; i++)
		if (f->ph[i].p_type == PT_LOAD && offset - f->ph[i].p_offset < f->ph[i].p_filesz)
			return offset - f->ph[i].p_offset + f->ph[i].p_vaddr;
	return 0;
}

static const void *at_address(const struct file *f, uint64_t address, uint64_t n)
{
	for (unsigned i = 0; i < f->phnum; i++) {
		uint64_t in = address - f->ph[i].p_vaddr;
		if (f->ph[i].p_type == PT_LOAD && in < f->ph[i].p_filesz && n <= f->ph[i].p_filesz - in)
			return at_offset(f, f->ph[i].p_offset + in, n);
	}
	return NULL;
}

static int32_t signed_at(const uint8_t *p)
{
	int32_t v;
	memcpy(&v, p, 4);
	return v;
}

/* unwound gives the start of the function that .eh_frame_hdr's sorted table has around address, or 0. The range of its
 * entry is read as compilers write it; an entry of another form does not name the same start, and is not believed. */
static uint64_t unwound(const struct file *f, uint64_t address)
{
	for (unsigned i = 0; i < f->phnum; i++) {
		if (f->ph[i].p_type != PT_GNU_EH_FRAME || f->ph[i].p_filesz < 12)
			continue;
		uint64_t here = f->ph[i].p_vaddr;
		const uint8_t *h = at_address(f, here, f->ph[i].p_filesz), *entry;
		/* version 1; frame pointer pcrel sdata4, count udata4, table datarel sdata4 */
		if (!h || h[0] != 1 || h[1] != 0x1b || h[2] != 0x03 || h[3] != 0x3b)
			return 0;
		uint64_t low = 0, high = (uint32_t)signed_at(h + 8);
		if (high > (f->ph[i].p_filesz - 12) / 8)
			return 0;
		while (low < high) {
			uint64_t middle = (low + high) / 2;
			if (here + (uint64_t)(int64_t)signed_at(h + 12 + 8 * middle) <= address)
				low = middle + 1;
			else
				high = middle;
		}
		if (low == 0)
			return 0;
		uint64_t start = here + (uint64_t)(int64_t)signed_at(h + 12 + 8 * (low - 1));
		uint64_t at = here + (uint64_t)(int64_t)signed_at(h + 16 + 8 * (low - 1));
		entry = at_address(f, at, 16);
		if (!entry || at + 8 + (uint64_t)(int64_t)signed_at(entry + 8) != start || address - start >= (uint32_t)signed_at(entry + 12))
			return 0;
		return start;
	}
	return 0;
}

/* named gives the start of the function that a symbol has around address, or 0. */
static uint64_t named(const struct file *f, uint64_t address)
{
	uint64_t best = 0;
	for (unsigned i = 0; i < f->shnum; i++) {
		const Elf64_Shdr *s = &f->sh[i];
		const Elf64_Sym *y = at_offset(f, s->sh_offset, s->sh_size);
		if ((s->sh_type != SHT_SYMTAB && s->sh_type != SHT_DYNSYM) || !y || s->sh_offset % 8)
			continue;
		for (uint64_t k = 0; k < s->sh_size / sizeof *y; k++)
			if ((ELF64_ST_TYPE(y[k].st_info) == STT_FUNC || ELF64_ST_TYPE(y[k].st_info) == STT_GNU_IFUNC) && address - y[k].st_value < y[k].st_size && y[k].st_value > best)
				best = y[k].st_value;
	}
	return best;
}

/* in_code says whether offset may be code by the sections; without sections it may. */
static bool in_code(const struct file *f, uint64_t offset)
{
	bool any = false;
	for (unsigned i = 0; i < f->shnum; i++)
		if (f->sh[i].sh_type == SHT_PROGBITS && f->sh[i].sh_flags & SHF_EXECINSTR) {
			any = true;
			if (offset - f->sh[i].sh_offset < f->sh[i].sh_size)
				return true;
		}
	return !any;
}

static bool confirmed(const struct file *f, const Elf64_Phdr *s, uint64_t offset)
{
	const uint8_t *code = f->b + s->p_offset;
	size_t at = offset - s->p_offset, n = s->p_filesz;
	if (!in_code(f, offset))
		return false;
	uint64_t address = address_of(f, offset), start = unwound(f, address);
	if (!start)
		start = named(f, address);
	if (start && address - start <= at && address - start < FUNCTION_MAX) {
		enum step w = walk(code, n, at - (address - start), at);
		if (w != LOST) /* a function with data in it leaves the way undecided */
			return w == ARRIVED;
	}
	return most(code, n, at);
}

bool find_in_file(const uint8_t *file, size_t n, struct file_places *to)
{
	struct file f;
	struct places maybe = {0};
	const Elf64_Phdr *s;
	if (!open_elf(&f, file, n))
		return false;
	to->places.n = 0;
	for (to->segments = 0; to->segments < SEGMENTS && (s = executable_segment(&f, (int)to->segments)); to->segments++) {
		to->segment[to->segments].offset = s->p_offset;
		to->segment[to->segments].length = s->p_filesz;
		maybe.n = 0;
		candidates(f.b + s->p_offset, s->p_filesz, s->p_offset, &maybe);
		for (size_t k = 0; k < maybe.n; k++)
			if (confirmed(&f, s, maybe.p[k].at))
				add_place(&to->places, maybe.p[k].at, maybe.p[k].was);
	}
	free(maybe.p);
	return true;
}
