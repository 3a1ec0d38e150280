/* procpid.c: the folder of a process below /proc, each file made anew when it is named. */
#include "procfs.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *host_file(struct process *p, const char *name)
{
	char path[64];
	snprintf(path, sizeof path, "%d/%s", p->pid, name);
	int fd = openat(host_proc, path, O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f && fd >= 0)
		close(fd);
	return f;
}

/* maps walks the address space; it gives its size in bytes and, with write, the lines as the program may see them: no
 * machine's inode or device, no vDSO. */
static uint64_t maps(struct process *p, bool write)
{
	uint64_t total = 0;
	FILE *f = host_file(p, "maps");
	char *line = NULL;
	size_t cap = 0;
	while (f && getline(&line, &cap, f) > 0) {
		unsigned long long from, to, offset;
		char mode[8];
		int at = 0;
		struct stat st;
		if (sscanf(line, "%llx-%llx %7s %llx %*s %*s %n", &from, &to, mode, &offset, &at) < 4)
			continue;
		char *name = at ? line + at : line + strlen(line);
		name[strcspn(name, "\n")] = 0;
		if (!strncmp(name, "[v", 2))
			continue;
		total += to - from;
		if (!write)
			continue;
		uint64_t ino = name[0] == '/' && stat(name, &st) == 0 ? virtual_inode(st.st_dev, st.st_ino) : 0;
		char head[120];
		int n = snprintf(head, sizeof head, "%08llx-%08llx %s %08llx %s %llu ", from, to, mode, offset, ino ? "00:01" : "00:00", (unsigned long long)ino);
		add("%s", head);
		if (name[0])
			add("%*s%s", n < 73 ? 73 - n : 0, "", name);
		add("\n");
	}
	free(line);
	if (f)
		fclose(f);
	return total;
}

/* A process sleeps if all of its threads do. */
static const char *state_of(const struct process *p)
{
	const char *state = p->zombie ? "Z (zombie)" : "S (sleeping)";
	for (struct thread *t = threads; t; t = t->next)
		if (t->p == p && (t->state == READY || t->state == NEW))
			return "R (running)";
		else if (t->p == p && t->state == STOPPED)
			state = "T (stopped)";
	return state;
}

static void stat_line(struct process *p)
{
	unsigned long long start = p->started_ns > job->epoch_ns ? (p->started_ns - job->epoch_ns) / 10000000u : 0, size = maps(p, false);
	add("%u (%s) %c %u %u %u 0 -1 4194304 0 0 0 0 %llu 0 0 0 20 0 %d 0 %llu %llu %llu 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 %d\n",
	    p->vpid, p->comm, state_of(p)[0], p->parent ? p->parent->vpid : 1, p->pgid, p->sid, (unsigned long long)p->used_ns / 10000000u,
	    p->zombie ? 1 : p->threads, start + 100, size, size / 4096, p->zombie ? p->status : 0);
}

static void status(struct process *p)
{
	unsigned long long kb = maps(p, false) / 1024;
	add("Name:\t%s\nUmask:\t0022\nState:\t%s\nTgid:\t%u\nNgid:\t0\nPid:\t%u\nPPid:\t%u\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t64\nGroups:\t \n",
	    p->comm, state_of(p), p->vpid, p->vpid, p->parent ? p->parent->vpid : 1);
	add("VmPeak:\t%8llu kB\nVmSize:\t%8llu kB\nVmHWM:\t%8llu kB\nVmRSS:\t%8llu kB\nVmSwap:\t       0 kB\nThreads:\t%d\n", kb, kb, kb, kb, p->zombie ? 1 : p->threads);
	add("CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t0\n");
	add("Cpus_allowed:\t1\nCpus_allowed_list:\t0\nMems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n");
}

/* mounts: those of the job, in its order, as tmpfs; what they really are is the machine's affair. */
static void mounts(bool info)
{
	const char *s = (const char *)(job + 1) + job->filter_len * 8ul;
	const char *end = s + job->strings_len;
	uint32_t skip = 1 + job->argc + job->envc;
	int id = 1;
	if (info)
		add("1 0 0:1 / / ro,nosuid,nodev - tmpfs tmpfs ro\n");
	else
		add("tmpfs / tmpfs ro,nosuid,nodev 0 0\n");
	for (uint32_t i = 0; s < end && i < skip + 3 * job->mounts; i++) {
		if (i >= skip && (i - skip) % 3 == 0 && (*s == 't' || *s == 'r')) {
			const char *place = s + strlen(s) + 1, *how = *s == 't' ? "rw" : "ro";
			if (place < end && info)
				add("%d 1 0:%d / %s %s,nosuid,nodev - tmpfs tmpfs %s\n", id + 1, id + 1, place, how, how);
			else if (place < end)
				add("tmpfs %s tmpfs %s,nosuid,nodev 0 0\n", place, how);
			id++;
		}
		s += strlen(s) + 1;
	}
	if (info)
		add("%d 1 0:%d / /proc ro,nosuid,nodev,noexec - proc proc ro\n", id + 1, id + 1);
	else
		add("proc /proc proc ro,nosuid,nodev,noexec 0 0\n");
}

static void limits(struct process *p)
{
	static const struct { const char *name, *unit; } rows[LIMITS] = {
		{"Max cpu time", "seconds"}, {"Max file size", "bytes"}, {"Max data size", "bytes"}, {"Max stack size", "bytes"}, {"Max core file size", "bytes"},
		{"Max resident set", "bytes"}, {"Max processes", "processes"}, {"Max open files", "files"}, {"Max locked memory", "bytes"}, {"Max address space", "bytes"},
		{"Max file locks", "locks"}, {"Max pending signals", "signals"}, {"Max msgqueue size", "bytes"}, {"Max nice priority", ""}, {"Max realtime priority", ""}, {"Max realtime timeout", "us"},
	};
	add("%-26s%-21s%-21s%-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
	for (unsigned i = 0; i < LIMITS; i++) {
		const struct rlimit l = limit_of(p, i);
		add("%-26s", rows[i].name);
		for (int hard = 0; hard < 2; hard++) {
			rlim_t most = hard ? l.rlim_max : l.rlim_cur;
			if (most == RLIM_INFINITY)
				add("%-21s", "unlimited");
			else
				add("%-21llu", (unsigned long long)most);
		}
		add("%-10s\n", rows[i].unit);
	}
}

/* descriptors makes fd/ anew: a link each, with virtual numbers for what has no path. */
static void descriptors(struct process *p)
{
	char name[64], host[64], to[PATH_CAP];
	struct stat st;
	snprintf(name, sizeof name, "%u/fd", p->vpid);
	int old = openat(proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = old < 0 ? NULL : fdopendir(old);
	struct dirent *e;
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			unlinkat(old, e->d_name, 0);
	if (d)
		closedir(d);
	snprintf(host, sizeof host, "%d/fd", p->pid);
	int fd = openat(host_proc, host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	while (d && (e = readdir(d))) {
		ssize_t n = e->d_name[0] == '.' ? -1 : readlinkat(fd, e->d_name, to, sizeof to - 1);
		if (n < 0)
			continue;
		to[n] = 0;
		if ((!strncmp(to, "pipe:", 5) || !strncmp(to, "socket:", 7)) && fstatat(fd, e->d_name, &st, 0) == 0)
			snprintf(strchr(to, ':'), 40, ":[%llu]", (unsigned long long)virtual_inode(st.st_dev, st.st_ino));
		snprintf(name, sizeof name, "%u/fd/%.20s", p->vpid, e->d_name);
		make_link(name, to);
	}
	if (d)
		closedir(d);
	names_generation++;
}

static const char *const names[] = {"auxv", "cgroup", "cmdline", "comm", "environ", "limits", "maps", "mountinfo", "mounts", "oom_score_adj", "stat", "statm", "status"};

void make_process(struct process *p)
{
	char name[64];
	snprintf(name, sizeof name, "%u", p->vpid);
	if (mkdirat(proc_fd, name, 0755) < 0)
		return; /* it is there */
	snprintf(name, sizeof name, "%u/fd", p->vpid);
	mkdirat(proc_fd, name, 0755);
	snprintf(name, sizeof name, "%u/task", p->vpid);
	mkdirat(proc_fd, name, 0755);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(name, sizeof name, "%u/%s", p->vpid, names[i]);
		begin();
		finish(name);
	}
	for (const char *const *l = (const char *const[]){"exe", "cwd", "root", NULL}; *l; l++)
		refresh_process(p, *l);
	refresh_process(p, "task");
}

void refresh_process(struct process *p, const char *file)
{
	char name[64], host[64], to[PATH_CAP];
	if (!strncmp(file, "task", 4)) {
		for (struct thread *t = threads; t; t = t->next)
			if (t->p == p && t->state != DEAD) {
				snprintf(name, sizeof name, "%u/task/%u", p->vpid, t->vtid);
				make_link(name, "..");
			}
		const char *rest = file[4] ? strchr(file + 5, '/') : NULL;
		if (!rest)
			return;
		file = rest + 1;
	}
	if (!strncmp(file, "fd", 2) && (!file[2] || file[2] == '/')) {
		descriptors(p);
		return;
	}
	snprintf(name, sizeof name, "%u/%.20s", p->vpid, file);
	if (!strcmp(file, "exe") || !strcmp(file, "cwd") || !strcmp(file, "root")) {
		snprintf(host, sizeof host, "%d/%s", p->pid, file);
		ssize_t n = file[0] == 'r' ? -1 : readlinkat(host_proc, host, to, sizeof to - 1);
		to[n < 0 ? 0 : n] = 0;
		make_link(name, file[0] == 'e' && p->exe ? p->exe : n > 0 ? to : "/");
		return;
	}
	size_t i = 0;
	while (i < sizeof names / sizeof *names && strcmp(names[i], file))
		i++;
	if (i == sizeof names / sizeof *names)
		return;
	begin();
	if (!strcmp(file, "cmdline"))
		add_bytes(p->argv, p->zombie || !p->argv ? 0 : p->argv_len);
	else if (!strcmp(file, "environ"))
		add_bytes(p->env, p->env ? p->env_len : 0);
	else if (!strcmp(file, "comm"))
		add("%s\n", p->comm);
	else if (!strcmp(file, "stat"))
		stat_line(p);
	else if (!strcmp(file, "status"))
		status(p);
	else if (!strcmp(file, "statm")) {
		unsigned long long pages = maps(p, false) / 4096;
		add("%llu %llu 0 0 0 %llu 0\n", pages, pages, pages);
	} else if (!strcmp(file, "maps"))
		maps(p, true);
	else if (!strcmp(file, "mounts") || !strcmp(file, "mountinfo"))
		mounts(file[5] == 'i');
	else if (!strcmp(file, "limits"))
		limits(p);
	else if (!strcmp(file, "cgroup"))
		add("0::/\n");
	else if (!strcmp(file, "oom_score_adj"))
		add("0\n");
	finish(name);
}

static void remove_below(const char *name, int depth)
{
	int fd = openat(proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	while (d && (e = readdir(d))) {
		char below[400];
		if (e->d_name[0] == '.')
			continue;
		snprintf(below, sizeof below, "%.100s/%s", name, e->d_name);
		if (unlinkat(proc_fd, below, 0) < 0 && depth > 0)
			remove_below(below, depth - 1);
	}
	if (d)
		closedir(d);
	unlinkat(proc_fd, name, AT_REMOVEDIR);
}

void remove_process(struct process *p)
{
	char name[16];
	snprintf(name, sizeof name, "%u", p->vpid);
	remove_below(name, 2);
	names_generation++;
}
