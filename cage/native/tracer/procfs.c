/* procfs.c: /proc as a tmpfs that the tracer keeps up to date just before a program looks.
 *
 * The program sees it read-only; the tracer writes through a detached mount of its own. Nothing is made before the first
 * path below /proc is named, so programs that don't look pay nothing. A file is replaced, never rewritten: who has the
 * old one open reads it to its end. */
#include "procfs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t proc_dev;
static bool made;
static uint32_t self_pid, self_tid;

static char *text;
static size_t text_n, text_cap;

void begin(void) { text_n = 0; }

void add(const char *format, ...)
{
	for (;;) {
		va_list v;
		va_start(v, format);
		int n = text ? vsnprintf(text + text_n, text_cap - text_n, format, v) : 0;
		va_end(v);
		if (text && text_n + (size_t)n < text_cap) {
			text_n += (size_t)n;
			return;
		}
		text_cap = text_cap ? text_cap * 2 : 1 << 16;
		char *bigger = realloc(text, text_cap);
		if (!bigger)
			trouble("memory for /proc");
		text = bigger;
	}
}

void add_bytes(const char *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add("%c", from[i]);
}

void finish(const char *name)
{
	int fd = openat(proc_fd, ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444);
	if (fd < 0)
		trouble("write /proc");
	fchmod(fd, 0444);
	for (size_t at = 0; at < text_n;) {
		ssize_t n = write(fd, text + at, text_n - at);
		if (n <= 0)
			break; /* the tmpfs is full: a short file */
		at += (size_t)n;
	}
	close(fd);
	if (renameat(proc_fd, ".new", proc_fd, name) < 0)
		unlinkat(proc_fd, ".new", 0);
	names_generation++;
}

void make_link(const char *name, const char *to)
{
	char now[PATH_CAP];
	ssize_t n = readlinkat(proc_fd, name, now, sizeof now - 1);
	if (n >= 0) {
		now[n] = 0;
		if (!strcmp(now, to))
			return;
		unlinkat(proc_fd, name, 0);
	}
	if (symlinkat(to, proc_fd, name) == 0)
		names_generation++;
}

static void fixed(const char *name, const char *content)
{
	begin();
	add("%s", content);
	finish(name);
}

static const struct { const char *name, *content; } fixed_files[] = {
	{"cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 26\nmodel name\t: DockLock x86-64-v2\nstepping\t: 0\n"
		    "cpu MHz\t\t: 1000.000\ncache size\t: 1024 KB\nphysical id\t: 0\nsiblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\n"
		    "flags\t\t: fpu tsc msr cx8 cmov clflush mmx fxsr sse sse2 syscall nx lm rep_good nopl cpuid pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm\n"
		    "bogomips\t: 2000.00\nclflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: 46 bits physical, 48 bits virtual\n\n"},
	{"loadavg", "0.00 0.00 0.00 1/1 2\n"},
	{"version", "Linux version 6.1.0 (cage@cage) (gcc) #1 SMP\n"},
	{"filesystems", "nodev\tproc\nnodev\ttmpfs\n"},
	{"cmdline", "\n"}, {"devices", "Character devices:\n  1 mem\n"}, {"swaps", "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n"},
	{"partitions", "major minor  #blocks  name\n\n"}, {"modules", ""}, {"diskstats", ""},
	{"vmstat", "pgfault 0\npgmajfault 0\n"},
	{"sys/kernel/hostname", "cage\n"}, {"sys/kernel/domainname", "(none)\n"}, {"sys/kernel/ostype", "Linux\n"}, {"sys/kernel/osrelease", "6.1.0\n"},
	{"sys/kernel/version", "#1 SMP\n"}, {"sys/kernel/pid_max", "32768\n"}, {"sys/kernel/threads-max", "4096\n"}, {"sys/kernel/cap_last_cap", "40\n"},
	{"sys/kernel/ngroups_max", "65536\n"}, {"sys/kernel/randomize_va_space", "0\n"}, {"sys/kernel/yama/ptrace_scope", "1\n"},
	{"sys/kernel/core_pattern", "core\n"}, {"sys/kernel/shmmax", "1073741824\n"}, {"sys/kernel/perf_event_paranoid", "3\n"},
	{"sys/kernel/random/entropy_avail", "256\n"}, {"sys/kernel/random/poolsize", "256\n"}, {"sys/kernel/seccomp/actions_avail", "kill_process\n"},
	{"sys/vm/overcommit_memory", "0\n"}, {"sys/vm/max_map_count", "65530\n"}, {"sys/vm/swappiness", "60\n"}, {"sys/vm/mmap_min_addr", "65536\n"},
	{"sys/vm/overcommit_ratio", "50\n"}, {"sys/vm/nr_hugepages", "0\n"},
	{"sys/fs/file-max", "65536\n"}, {"sys/fs/nr_open", "1048576\n"}, {"sys/fs/pipe-max-size", "1048576\n"}, {"sys/fs/file-nr", "64\t0\t65536\n"},
	{"sys/crypto/fips_enabled", "0\n"}, {"sys/net/core/somaxconn", "4096\n"},
};

/* add_uuid appends a version 4 UUID of the run's own stream. */
static void add_uuid(void)
{
	unsigned char b[16];
	random_fill(R_UUID, b, sizeof b);
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	for (int i = 0; i < 16; i++)
		add("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
	add("\n");
}

static void make_all(void)
{
	static const char *const dirs[] = {"sys", "sys/kernel", "sys/kernel/random", "sys/kernel/yama", "sys/kernel/seccomp", "sys/vm", "sys/fs", "sys/crypto", "sys/net", "sys/net/core"};
	struct stat st;
	made = true;
	if (fstat(proc_fd, &st) < 0)
		trouble("find /proc");
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
		if (mkdirat(proc_fd, dirs[i], 0555) == 0)
			fchmodat(proc_fd, dirs[i], 0755, 0);
	for (size_t i = 0; i < sizeof fixed_files / sizeof *fixed_files; i++)
		fixed(fixed_files[i].name, fixed_files[i].content);
	begin();
	add_uuid();
	finish("sys/kernel/random/boot_id");
	begin();
	unsigned long long kb = job->memory_bytes / 1024;
	add("MemTotal:       %8llu kB\nMemFree:        %8llu kB\nMemAvailable:   %8llu kB\nBuffers:               0 kB\nCached:         %8llu kB\n", kb, kb / 2, kb / 4 * 3, kb / 4);
	add("SwapCached:            0 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\nShmem:                 0 kB\nSReclaimable:          0 kB\n"
	    "HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n");
	finish("meminfo");
	fixed("uptime", "");
	fixed("stat", "");
	fixed("sys/kernel/random/uuid", "");
	make_link("mounts", "self/mounts");
}

static void refresh_global(const char *name)
{
	uint64_t up = vnow() - job->epoch_ns;
	if (!strcmp(name, "uptime")) {
		begin();
		add("%llu.%02llu 0.00\n", (unsigned long long)(up / 1000000000u) + 1, (unsigned long long)(up / 10000000u % 100));
		finish(name);
	} else if (!strcmp(name, "stat")) {
		unsigned long long ticks = up / 10000000u;
		begin();
		add("cpu  %llu 0 0 0 0 0 0 0 0 0\ncpu0 %llu 0 0 0 0 0 0 0 0 0\nintr 0\nctxt 0\nbtime %llu\nprocesses 2\nprocs_running 1\nprocs_blocked 0\n",
		    ticks, ticks, (unsigned long long)(job->epoch_ns / 1000000000u) - 1);
		finish(name);
	} else if (!strcmp(name, "sys/kernel/random/uuid")) {
		begin();
		add_uuid();
		finish(name);
	}
}

/* touch_proc: rest is what follows /proc. */
static void touch_proc(struct thread *t, const char *rest)
{
	char link[64];
	if (!made)
		make_all();
	if (self_pid != t->p->vpid) {
		self_pid = t->p->vpid;
		snprintf(link, sizeof link, "%u", self_pid);
		make_link("self", link);
	}
	if (self_tid != t->vtid) {
		self_tid = t->vtid;
		snprintf(link, sizeof link, "%u/task/%u", t->p->vpid, t->vtid);
		make_link("thread-self", link);
	}
	while (*rest == '/')
		rest++;
	if (!*rest) {
		for (struct process *p = processes; p; p = p->next)
			make_process(p);
		return;
	}
	uint32_t pid = 0;
	const char *after = strchr(rest, '/');
	size_t l = after ? (size_t)(after - rest) : strlen(rest);
	if ((l == 4 && !strncmp(rest, "self", 4)) || (l == 11 && !strncmp(rest, "thread-self", 11)))
		pid = t->p->vpid;
	else if (l == 6 && !strncmp(rest, "mounts", 6)) {
		pid = t->p->vpid;
		after = "/mounts";
	} else if (rest[0] >= '0' && rest[0] <= '9')
		pid = (uint32_t)strtoul(rest, NULL, 10);
	if (!pid) {
		refresh_global(rest);
		return;
	}
	for (struct process *p = processes; p; p = p->next)
		if (p->vpid == pid) {
			make_process(p);
			if (after)
				refresh_process(p, after + 1);
		}
}

bool proc_touch(struct thread *t, const char *absolute)
{
	if (!strncmp(absolute, "/proc", 5) && (absolute[5] == '/' || !absolute[5])) {
		touch_proc(t, absolute + 5);
		return true;
	}
	if (!strncmp(absolute, "/dev", 4) && (absolute[4] == '/' || !absolute[4])) {
		if (!strncmp(absolute, "/dev/fd", 7) || !strncmp(absolute, "/dev/std", 8))
			touch_proc(t, "/self/fd");
		return true;
	}
	if (!strcmp(absolute, "/etc/mtab"))
		touch_proc(t, "/mounts");
	return false;
}

int fd_by_name(struct thread *t, const char *absolute)
{
	static const char *const ways[] = {"/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/"};
	char own[48];
	const char *number = NULL;
	snprintf(own, sizeof own, "/proc/%u/fd/", t->p->vpid);
	for (size_t i = 0; i < 3; i++)
		if (!strncmp(absolute, ways[i], strlen(ways[i])))
			number = absolute + strlen(ways[i]);
	if (!strncmp(absolute, own, strlen(own)))
		number = absolute + strlen(own);
	if (!strcmp(absolute, "/dev/stdin"))
		number = "0";
	else if (!strcmp(absolute, "/dev/stdout"))
		number = "1";
	else if (!strcmp(absolute, "/dev/stderr"))
		number = "2";
	if (!number || !*number || strlen(number) > 7 || strspn(number, "0123456789") != strlen(number))
		return -1;
	return (int)strtoul(number, NULL, 10);
}

/* A descriptor reached by its name in /proc: a file that still has a path is opened anew by that path; what has none is
 * duplicated. */
int proc_open(struct thread *t, const char *absolute, uint64_t flags, enum verdict *v)
{
	char own[48], target[PATH_CAP];
	struct stat st;
	int fd = fd_by_name(t, absolute);
	if (fd < 0 || flags & (O_NOFOLLOW | O_PATH))
		return 0;
	snprintf(own, sizeof own, "%d/fd/%d", t->p->pid, fd);
	ssize_t n = readlinkat(host_proc, own, target, sizeof target - 1);
	if (n > 0) {
		target[n] = 0;
		if (target[0] == '/' && fstatat(AT_FDCWD, target, &st, 0) == 0 && !S_ISFIFO(st.st_mode))
			return 0;
	}
	long r = n < 0 ? -ENOENT : inject(t, 72 /* fcntl */, (uint64_t)fd, flags & O_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, 0, 0, 0, 0);
	answer(t, r);
	event_call(t, TJ_OPEN, flags, (uint64_t)r, absolute);
	*v = V_DONE;
	return 1;
}

void proc_born(struct process *p)
{
	if (made && p)
		names_generation++; /* a listing of /proc begins with the processes that there are; see touch_proc */
}

void proc_gone(struct process *p)
{
	forget_process(p->pid);
	if (made)
		remove_process(p);
}
