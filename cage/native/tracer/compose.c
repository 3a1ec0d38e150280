/* compose.c: the cage's root: a tmpfs that the tracer fills as the job's list of mounts says and then makes read-only.
 * Host folders and files come in as read-only copies of their mounts, so no host path is ever in sight. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int attributes(int fd, uint64_t set, int userns, bool below)
{
	struct mount_attr a;
	memset(&a, 0, sizeof a);
	a.attr_set = set | (userns >= 0 ? MOUNT_ATTR_IDMAP : 0);
	a.userns_fd = userns >= 0 ? (uint64_t)userns : 0;
	return (int)syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | (below ? AT_RECURSIVE : 0), &a, sizeof a);
}

/* above makes the folders above the last name of path, which begins with root. */
static int above(char *path, size_t root)
{
	for (char *p = path + root; (p = strchr(p + 1, '/'));) {
		*p = 0;
		int r = mkdir(path, 0755);
		*p = '/';
		if (r < 0 && errno != EEXIST)
			return -1;
	}
	return 0;
}

static const char *show(const char *path, const char *source, bool folder, int userns)
{
	struct stat st;
	int at = folder ? mkdir(path, 0755) : open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (at < 0 && !(folder && errno == EEXIST))
		return "make a mount's place";
	if (!folder)
		close(at);
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (folder ? AT_RECURSIVE : 0));
	if (tree < 0)
		return "open a folder or file for the cage";
	const char *failed = NULL;
	if (fstat(tree, &st) < 0 || (folder ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode))) {
		errno = folder ? ENOTDIR : EISDIR;
		failed = "a mount is of another kind than the job says";
	} else if (attributes(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, !folder && !(st.st_mode & 0004) ? userns : -1, folder) < 0) {
		failed = "make a mount read-only";
	} else if (syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
		failed = "mount a folder or file in the cage";
	}
	int e = errno;
	close(tree);
	errno = e;
	return failed;
}

static const char *copy(const char *path, const char *source, mode_t mode, unsigned owner)
{
	int from = open(source, O_RDONLY | O_CLOEXEC), to = from < 0 ? -1 : open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
	ssize_t n = -1;
	if (to >= 0)
		while ((n = sendfile(to, from, NULL, 1 << 20)) > 0)
			;
	bool failed = n < 0 || fchmod(to, mode) < 0 || fchown(to, owner, owner) < 0;
	int e = errno;
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	errno = e;
	return failed ? "copy a file into the cage" : NULL;
}

static const char *scratch_space(const char *path, const char *bytes, unsigned owner)
{
	char options[128];
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return "make a mount's place";
	snprintf(options, sizeof options, "mode=%s,size=%s,uid=%u,gid=%u", strstr(path, "tmp") ? "1777" : "0755", bytes, owner, owner);
	return mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0 ? "mount a tmpfs" : NULL;
}

/* own gives the folders between the writable mount and path to the program. */
static void own(const char *path, unsigned owner)
{
	if (chown(path, owner, owner) < 0)
		errno = 0; /* a folder of the read-only root: it stays as it is */
}

static const char *one(char kind, const char *path, size_t root, const char *source, unsigned owner, int userns)
{
	char folder[8192];
	snprintf(folder, sizeof folder, "%s", path);
	if (above(folder, root) < 0)
		return "make a folder of the cage";
	switch (kind) {
	case 'd':
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return "make a folder of the cage";
		own(path, owner);
		return NULL;
	case 't': return scratch_space(path, source, owner);
	case 'r': return show(path, source, true, userns);
	case 'f': return show(path, source, false, userns);
	case 'c': return copy(path, source, 0644, owner);
	case 'x': return copy(path, source, 0755, owner);
	case 'l': return symlink(source, path) < 0 ? "make a symbolic link" : NULL;
	}
	errno = EINVAL;
	return "kind of a mount";
}

const char *compose(const char *root, unsigned owner, int userns)
{
	const char *failed, *s = job_string(1 + job->argc + job->envc);
	char options[64], path[8192];
	snprintf(options, sizeof options, "mode=0755,size=64m,uid=%u,gid=%u", owner, owner);
	if (mount("cage", root, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
		return "mount the cage's root";
	for (uint32_t i = 0; i < job->mounts; i++) {
		const char *place = s + strlen(s) + 1, *source = place + strlen(place) + 1;
		errno = EINVAL;
		if (place[0] != '/' || strstr(place, "/../") || snprintf(path, sizeof path, "%s%s", root, place) >= (int)sizeof path)
			return "place of a mount";
		if ((failed = one(s[0], path, strlen(root), source, owner, userns))) {
			static char text[160];
			snprintf(text, sizeof text, "%s: %.100s", failed, place);
			return text;
		}
		s = source + strlen(source) + 1;
	}
	return compose_proc_and_dev(root, owner);
}
