/* execfile.c: which files are programs. A kernel may also know 32-bit programs, or hand files of any form to what its
 * administrator has named for them (binfmt_misc); in the cage there are x86-64 programs and scripts, on every machine. */
#include "files.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SCRIPTS 6 /* scripts whose interpreter is a script: the kernel goes no further either */

static int reopen(int fd)
{
	char name[32];
	snprintf(name, sizeof name, "self/fd/%d", fd);
	return openat(host_proc, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

/* interpreter gives the name behind #! or an empty one. */
static void interpreter(const char *head, char *name)
{
	size_t from = 2 + strspn(head + 2, " \t"), n = strcspn(head + from, " \t\n");
	memcpy(name, head + from, n);
	name[n] = 0;
}

static bool native_program(const char *head, ssize_t n)
{
	Elf64_Ehdr e;
	memcpy(&e, head, sizeof e);
	return n >= (ssize_t)sizeof e && !memcmp(e.e_ident, ELFMAG, SELFMAG) && e.e_ident[EI_CLASS] == ELFCLASS64 && e.e_ident[EI_DATA] == ELFDATA2LSB &&
	       e.e_machine == EM_X86_64;
}

/* judge closes fd. */
static int judge(struct thread *t, int fd)
{
	for (int i = 0; i < SCRIPTS; i++) {
		char head[257] = {0}, name[257];
		struct stat st;
		/* What the kernel refuses anyway it refuses in its own words. */
		bool program = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && faccessat(fd, "", X_OK, AT_EMPTY_PATH) == 0;
		ssize_t n = program ? pread(fd, head, 256, 0) : -1;
		close(fd);
		if (!program)
			return 0;
		if (n < 2 || head[0] != '#' || head[1] != '!')
			return native_program(head, n) ? 0 : -ENOEXEC;
		interpreter(head, name);
		int base = *name && *name != '/' ? dir_of(t, AT_FDCWD) : AT_FDCWD;
		fd = openat(base, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			return 0;
	}
	close(fd);
	return 0;
}

int exec_error(struct thread *t, int dirfd, uint64_t path, bool empty_ok)
{
	static struct where w;
	if (read_where(t, dirfd, path, empty_ok, &w) < 0)
		return 0;
	int fd = *w.text ? openat(w.base, w.text, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : reopen(w.base), e = errno;
	end_where(&w);
	if (fd >= 0)
		return judge(t, fd);
	return e == EACCES ? -EACCES : 0; /* what nobody can look into */
}
