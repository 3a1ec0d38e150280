/* code.h: what the files that read machine code and replace instructions share. places.c and decode.c need nothing else
 * of the tracer. */
#ifndef DOCKLOCK_TRACER_CODE_H
#define DOCKLOCK_TRACER_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/user.h>

/* --- decode.c: x86-64 instructions */
#define INSN_MAX 15

struct insn {
	uint8_t length;
	uint8_t opcode_at;     /* of the escape byte where there is one: 0F of a two-byte opcode */
	uint8_t map;           /* 0: one byte; 1: 0F; 2: 0F 38; 3: 0F 3A; above 15: VEX, EVEX or XOP */
	uint8_t opcode, modrm; /* modrm 0 where there is none */
	uint8_t rex;           /* 0 where there is none */
	bool data16, repeat, repeat_not; /* 66, F3, F2 */
};

/* decode reads one instruction from n bytes; false if there is none, or it does not end within them. */
bool decode(const uint8_t *code, size_t n, struct insn *in);

/* --- places.c: where instructions stand that ask the processor what it is, or for chance */
struct place {
	uint64_t at;  /* of the 0F before the byte that is replaced: an offset or an address */
	uint8_t was;  /* the byte that is replaced: A2 (cpuid) or C7 (rdrand, rdseed, rdpid) */
};

struct places {
	struct place *p; /* ascending */
	size_t n, cap;
};

void add_place(struct places *to, uint64_t at, uint8_t was); /* without memory it ends the run: a place left out would be wrong */
bool is_place(const uint8_t *code, size_t n, size_t at);     /* the bytes at `at` alone look like one */

/* find_places looks through code and adds what it finds, as offsets from its start plus base. */
void find_places(const uint8_t *code, size_t n, uint64_t base, struct places *to);

/* What an ELF file holds; offsets are those of the file. */
#define SEGMENTS 8
struct file_places {
	struct places places;
	unsigned segments; /* executable ones that were looked through */
	struct { uint64_t offset, length; } segment[SEGMENTS];
};

/* find_in_file looks through the executable segments of the n bytes of an ELF file; false if it is none. */
bool find_in_file(const uint8_t *file, size_t n, struct file_places *to);

/* --- placecache.c: places by file, in memory for the run and in TJ_CACHE for the next. NULL: not an ELF file, or too
 * large. What it gives stays until the next call. */
const struct file_places *places_of(int fd, const struct stat *st);

/* --- maps.c: address spaces */
struct mapping {
	uint64_t from, to, offset, inode;
	bool exec, shared;
	const char *name; /* empty for none; valid during the call */
};
struct process;
bool each_mapping(struct process *p, void (*f)(void *with, const struct mapping *m), void *with); /* false: it can't be read */

/* --- cpu.c: the processor that the program sees. Each sets the registers as the instruction would, rip apart. */
#define CPU_HWCAP 0x07888131u /* leaf 1, edx, as AT_HWCAP repeats it */
void cpu_cpuid(struct user_regs_struct *r);
void cpu_time(struct user_regs_struct *r, uint64_t ns, bool with_processor); /* rdtsc; with_processor: rdtscp */
void cpu_give(struct user_regs_struct *r, const struct insn *in, uint64_t value, bool carry); /* rdrand, rdseed, rdpid: to the register that the instruction names */

/* --- patch.c, for memory.c */
struct thread;
void patch_file(struct thread *t, uint64_t from, uint64_t len, int fd, uint64_t offset); /* a fresh private mapping of a file */
void patch_none(struct thread *t, uint64_t from, uint64_t len);                          /* a fresh anonymous one */
void patch_page(struct thread *t, uint64_t page, uint64_t from);                         /* in which, or into which, the instruction at from is about to run */

/* --- written.c: mappings that are writable and executable */
bool written_new(struct thread *t, uint64_t from, uint64_t len, uint64_t prot); /* one was made; false: it cannot be watched */
void written_gone(struct process *p, uint64_t from, uint64_t len);              /* something else is there now */
bool written_runs(struct thread *t, uint64_t at);                               /* t could not fetch at: true if now it can */
void written_fork(struct process *child, struct process *parent);
void written_free(struct process *p);

int memory_of(struct thread *t, int how); /* patch.c: its /proc/PID/mem; writes reach what is read-only to itself */
#endif
