/* maps.c: the mappings of a process, as the host's /proc shows them. */
#include "code.h"
#include "tracer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Read whole before anything is done with it: what follows may change it. */
static char *text;
static size_t text_cap;

static bool read_maps(struct process *p)
{
	char name[32];
	size_t n = 0;
	ssize_t got = -1;
	snprintf(name, sizeof name, "%d/maps", p->pid);
	int fd = openat(host_proc, name, O_RDONLY | O_CLOEXEC);
	while (fd >= 0) {
		if (text_cap - n < 8192) {
			char *bigger = realloc(text, text_cap * 2 + 16384);
			if (!bigger)
				trouble("memory for a process's mappings");
			text = bigger;
			text_cap = text_cap * 2 + 16384;
		}
		got = read(fd, text + n, text_cap - n - 1);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	if (fd >= 0)
		close(fd);
	if (text)
		text[n] = 0;
	return got == 0;
}

/* A line: from-to rwxp offset major:minor inode  name */
bool each_mapping(struct process *p, void (*f)(void *with, const struct mapping *m), void *with)
{
	if (!read_maps(p))
		return false;
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		struct mapping m;
		char *at;
		*end = 0;
		m.from = strtoull(line, &at, 16);
		m.to = strtoull(at + 1, &at, 16);
		if (end - at < 6)
			continue;
		m.exec = at[3] == 'x';
		m.shared = at[4] == 's';
		m.offset = strtoull(at + 5, &at, 16);
		at += strspn(at, " ");
		at += strcspn(at, " "); /* the device */
		m.inode = strtoull(at, &at, 10);
		m.name = at + strspn(at, " ");
		f(with, &m);
	}
	return true;
}
