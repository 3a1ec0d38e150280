/* dev.c: mounts /proc and /dev while the root is composed, where the host's devices can still be reached.
 *
 * null, zero and full are the machine's own (they behave alike everywhere). random and urandom are empty files that
 * stat shows as devices and whose reads the tracer answers from the run's stream. There is no terminal. */
#include "procfs.h"

#include <linux/mount.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

int proc_fd = -1;
uint64_t dev_dev;
static uint64_t random_ino[2];

static int read_only(const char *path)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC};
	return (int)syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &a, sizeof a);
}

/* compose_proc_and_dev makes both below root, the stage of the cage's root, "" for "/"; owner is the user, as this
 * process sees it, that is 0 in the cage. It gives what failed, with errno, or NULL. */
const char *compose_proc_and_dev(const char *root, unsigned owner)
{
	static const char *const devices[] = {"null", "zero", "full"};
	static const char *const links[][2] = {{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}};
	char path[PATH_CAP], host[32], option[96];
	struct stat st;
	snprintf(option, sizeof option, "mode=0755,size=16m,uid=%u,gid=%u", owner, owner);
	snprintf(path, sizeof path, "%s/proc", root);
	if ((mkdir(path, 0755) < 0 && errno != EEXIST) || mount("proc", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, option) < 0)
		return "mount /proc";
	proc_fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (proc_fd < 0 || read_only(path) < 0)
		return "keep a view of /proc";
	snprintf(path, sizeof path, "%s/dev", root);
	if ((mkdir(path, 0755) < 0 && errno != EEXIST) || mount("dev", path, "tmpfs", MS_NOSUID | MS_NOEXEC, option) < 0)
		return "mount /dev";
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/dev/%s", root, devices[i]);
		snprintf(host, sizeof host, "/dev/%s", devices[i]);
		int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
		if (fd < 0)
			return "make a device's place";
		close(fd);
		if (mount(host, path, NULL, MS_BIND, NULL) < 0)
			return "bind a device";
	}
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/dev/%s", root, i ? "urandom" : "random");
		int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
		if (fd < 0 || fchmod(fd, 0666) < 0 || fstat(fd, &st) < 0)
			return "make /dev/random";
		close(fd);
		random_ino[i] = st.st_ino;
		dev_dev = st.st_dev;
	}
	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof path, "%s/dev/%s", root, links[i][0]);
		if (symlink(links[i][1], path) < 0)
			return "make a link of /dev";
	}
	snprintf(path, sizeof path, "%s/dev/shm", root);
	snprintf(option, sizeof option, "mode=1777,size=%llu,uid=%u,gid=%u", (unsigned long long)job->memory_bytes, owner, owner);
	if (!(job->flags & TJ_READ_ONLY) && (mkdir(path, 0755) < 0 || mount("shm", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, option) < 0))
		return "mount /dev/shm";
	snprintf(path, sizeof path, "%s/dev", root);
	if (read_only(path) < 0)
		return "close /dev";
	return NULL;
}

void make_proc_and_dev(void)
{
	struct stat st;
	const char *failed = proc_fd < 0 ? compose_proc_and_dev("", 0) : NULL;
	if (failed)
		trouble(failed);
	if (fstat(proc_fd, &st) < 0)
		trouble("find /proc");
	proc_dev = st.st_dev;
}

bool is_random(const struct stat *st)
{
	return dev_dev && st->st_dev == dev_dev && (st->st_ino == random_ino[0] || st->st_ino == random_ino[1]);
}
