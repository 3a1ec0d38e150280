/* supervisor.c: makes the outer walls and stays as the one process of a zygote's family that sees host files.
 *
 *   docklock-supervisor serve STAGE FLAGS zygote|cold     fds: 3 node's socket, 4 zygote's socket, 5 engine image
 *   docklock-supervisor probe STAGE                       prints a line a wall: name, tab, "ok" or why not
 *
 * serve enters a private copy of the mount namespace (as an ordinary user, in a user namespace of its own), starts the
 * zygote in a further user namespace with empty mount, pid, net, ipc and uts namespaces, and then answers the node's
 * PREPARE: it composes a job's root on STAGE, an empty folder, and hands it over as a detached mount, so that neither
 * zygote nor job ever sees a host path. As root, everything but this process is mapped to the unprivileged user
 * NOBODY. Its environment is the zygote's. It ends when the node's socket closes or the zygote ends, and takes the
 * whole family along: the zygote is bound to it by PDEATHSIG and is the init of the pid namespace of all jobs.
 */
#include "../zygote/docklock.c"

#include <linux/mount.h>
#include <sys/personality.h>
#include <grp.h>

#define NOBODY 65534

static void die(const char *what)
{
	fprintf(stderr, "cage supervisor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, text, strlen(text));
	int e = errno;
	close(fd);
	errno = e;
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

/* enter_own_namespaces leaves this process with a private view of the host's mounts and the right to mount in it. */
static const char *enter_own_namespaces(int root)
{
	unsigned uid = geteuid(), gid = getegid();
	char map[64];
	if (!root) {
		if (unshare(CLONE_NEWUSER) < 0)
			return "user namespace";
		snprintf(map, sizeof map, "0 %u 1", uid);
		if (put("/proc/self/setgroups", "deny") < 0 || put("/proc/self/uid_map", map) < 0)
			return "user namespace map";
		snprintf(map, sizeof map, "0 %u 1", gid);
		if (put("/proc/self/gid_map", map) < 0)
			return "user namespace map";
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return "mount namespace";
	return NULL;
}

static void attributes(int fd, uint64_t set, int userns, const char **failed)
{
	struct mount_attr a;
	memset(&a, 0, sizeof a);
	a.attr_set = set;
	if (userns >= 0) {
		a.attr_set |= MOUNT_ATTR_IDMAP;
		a.userns_fd = (uint64_t)userns;
	}
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &a, sizeof a) < 0)
		*failed = userns >= 0 ? "map an input's owner" : "set mount attributes";
}

/* make_dirs makes the folders above the last name of path. */
static int make_dirs(char *path)
{
	for (char *p = path; (p = strchr(p, '/')); p++) {
		*p = 0;
		int r = mkdir(path, 0755);
		*p = '/';
		if (r < 0 && errno != EEXIST)
			return -1;
	}
	return 0;
}

/* bind_input shows the host file at below/path, read-only. The working directory is the job's "in". */
static const char *bind_input(char *path, const char *host, int userns)
{
	const char *failed = NULL;
	struct stat st;
	if (make_dirs(path) < 0)
		return "make an input's folder";
	int at = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0444);
	if (at < 0)
		return "make an input's place";
	close(at);
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, host, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return "open an input";
	if (fstat(tree, &st) < 0 || !S_ISREG(st.st_mode)) {
		errno = EISDIR;
		failed = "input is no regular file";
	}
	if (!failed)
		attributes(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
			   userns >= 0 && !(st.st_mode & 0004) ? userns : -1, &failed);
	if (!failed && syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		failed = "mount an input";
	int e = errno;
	close(tree);
	errno = e;
	return failed;
}

static const char *mount_tmpfs(const char *at, uint64_t bytes, unsigned inodes, unsigned owner)
{
	char opt[160];
	snprintf(opt, sizeof opt, "mode=0755,size=%llu,nr_inodes=%u,uid=%u,gid=%u", (unsigned long long)bytes, inodes, owner, owner);
	return mount("tmpfs", at, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, opt) < 0 ? "mount a tmpfs" : NULL;
}

/* compose builds the job's root at STAGE/job and gives it detached, with a descriptor of its /out. */
static const char *compose(const char *stage, const struct dl_mounts *m, char *s, char *end, int root, int userns, int *tree, int *out)
{
	const char *failed;
	unsigned owner = root ? NOBODY : 0;
	if (chdir(stage) < 0)
		return "enter the stage";
	if ((failed = mount_tmpfs("job", 16u << 20, m->inputs * 32 + 64, owner)))
		return failed;
	if (chdir("job") < 0 || mkdir("in", 0755) < 0 || mkdir("tmp", 0755) < 0 || mkdir("out", 0755) < 0)
		return "make the job's folders";
	if ((failed = mount_tmpfs("tmp", m->tmp_bytes, 65536, owner)) || (failed = mount_tmpfs("out", m->out_bytes, m->out_files, owner)))
		return failed;
	if (chdir("in") < 0)
		return "enter the inputs";
	for (uint32_t i = 0; i < m->inputs; i++) {
		char *z = (char *)memchr(s, 0, (size_t)(end - s));
		char *host = z ? z + 1 : NULL;
		char *y = host && host < end ? (char *)memchr(host, 0, (size_t)(end - host)) : NULL;
		errno = EINVAL;
		if (!y)
			return "read the list of inputs";
		if ((failed = bind_input(s, host, userns)))
			return failed;
		s = y + 1;
	}
	if (chdir(stage) < 0)
		return "leave the inputs";
	*out = open("job/out", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*out < 0)
		return "open the outputs";
	*tree = (int)syscall(SYS_open_tree, AT_FDCWD, "job", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (*tree < 0)
		return "detach the job's root";
	failed = NULL;
	attributes(*tree, MOUNT_ATTR_RDONLY, -1, &failed);
	return failed;
}

static void prepare(int node, const char *stage, uint64_t id, int list, int root, int userns)
{
	const char *failed = NULL;
	int fds[2] = {-1, -1};
	struct stat st;
	struct dl_mounts m;
	char *buf = NULL;
	errno = EINVAL;
	if (list < 0 || fstat(list, &st) < 0 || st.st_size < (off_t)sizeof m || st.st_size > DL_MOUNTS_MAX)
		failed = "size of the list of inputs";
	else if (!(buf = (char *)malloc((size_t)st.st_size)) || pread(list, buf, (size_t)st.st_size, 0) != st.st_size)
		failed = "read the list of inputs";
	else {
		memcpy(&m, buf, sizeof m);
		errno = EINVAL;
		if (m.magic != DL_MOUNTS_MAGIC || m.inputs > DL_MOUNTS_INPUTS || sizeof m + m.strings_len != (uint64_t)st.st_size)
			failed = "form of the list of inputs";
	}
	if (!failed)
		failed = compose(stage, &m, buf + sizeof m, buf + st.st_size, root, userns, &fds[0], &fds[1]);
	int err = errno;
	free(buf);
	if (chdir(stage) == 0)
		umount2("job", MNT_DETACH);

	struct dl_packet k;
	memset(&k, 0, sizeof k);
	k.kind = DL_PREPARE;
	k.id = id;
	if (failed) {
		k.error = err ? err : EINVAL;
		strncpy(k.stage, failed, sizeof k.stage - 1);
	}
	union {
		char b[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} c;
	struct iovec iov = {&k, sizeof k};
	struct msghdr msg;
	memset(&msg, 0, sizeof msg);
	memset(&c, 0, sizeof c);
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	if (!failed) {
		msg.msg_control = c.b;
		msg.msg_controllen = sizeof c.b;
		struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(2 * sizeof(int));
		memcpy(CMSG_DATA(h), fds, sizeof fds);
	}
	if (sendmsg(node, &msg, MSG_NOSIGNAL) < 0)
		exit(0);
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* outer_walls runs in the zygote's process, first in its pid namespace, once its ids are mapped. */
static const char *outer_walls(unsigned flags)
{
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return "become the unprivileged user";
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return "bind to the supervisor's life";
	/* The change of ids has cleared this, and without it nobody, not even we, may enter our children's namespaces. */
	if (prctl(PR_SET_DUMPABLE, 1) < 0)
		return "open its own namespaces";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "mount namespace";
	/* By relative paths: the unprivileged user may have no way through the folders above the stage. */
	const char *failed = mount_tmpfs("zygote", 16u << 20, 1024, 0);
	if (failed)
		return failed;
	if (chdir("zygote") < 0 || mkdir("job", 0755) < 0 || mkdir("tmp", 0755) < 0 || mkdir("in", 0755) < 0 || mkdir("out", 0755) < 0)
		return "make the zygote's root";
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return "pivot_root";
	if (!(flags & DL_SKIP_UTS) && sethostname("docklock", 8) < 0)
		return "uts namespace";
	return NULL;
}

static unsigned long namespaces(unsigned flags)
{
	return CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | (flags & DL_SKIP_NET ? 0 : CLONE_NEWNET) |
	       (flags & DL_SKIP_IPC ? 0 : CLONE_NEWIPC) | (flags & DL_SKIP_UTS ? 0 : CLONE_NEWUTS);
}

/* map_ids makes the child's user 0 the unprivileged user here: NOBODY for root, else ourselves. */
static int map_ids(pid_t child, int root)
{
	char path[64], map[32];
	snprintf(map, sizeof map, "0 %d 1", root ? NOBODY : 0);
	snprintf(path, sizeof path, "/proc/%d/uid_map", child);
	if (put(path, map) < 0)
		return -1;
	snprintf(path, sizeof path, "/proc/%d/setgroups", child);
	if (put(path, "deny") < 0)
		return -1;
	snprintf(path, sizeof path, "/proc/%d/gid_map", child);
	return put(path, map);
}

static int serve(const char *stage, unsigned flags, int cold)
{
	int root = geteuid() == 0;
	if (root && setgroups(0, NULL) < 0)
		die("drop groups");
	const char *failed = enter_own_namespaces(root);
	if (failed)
		die(failed);
	/* The same address space layout for each start of an engine: part of what makes runs alike. */
	struct rlimit stack = {8u << 20, 8u << 20};
	if (setrlimit(RLIMIT_STACK, &stack) < 0)
		die("set the stack's limit");
	if (personality(ADDR_NO_RANDOMIZE) < 0)
		die("fix the address space");
	failed = mount_tmpfs(stage, 1u << 20, 64, root ? NOBODY : 0);
	if (failed)
		die(failed);
	if (chdir(stage) < 0 || mkdir("job", 0755) < 0 || mkdir("zygote", 0755) < 0)
		die("make the stage");
	int go[2];
	if (pipe2(go, O_CLOEXEC) < 0)
		die("make a pipe");
	pid_t zygote = (pid_t)syscall(SYS_clone, namespaces(flags) | SIGCHLD, 0, 0, 0, 0);
	if (zygote < 0)
		die("make the zygote's namespaces");
	if (zygote == 0) {
		char c;
		close(go[1]);
		if (read(go[0], &c, 1) != 1)
			_exit(1);
		failed = outer_walls(flags);
		if (failed)
			die(failed);
		/* Control becomes 3, the image 4; nothing else is kept. */
		if (dup2(4, 3) < 0 || (!cold && dup3(5, 4, O_CLOEXEC) < 0) || syscall(SYS_close_range, cold ? 4 : 5, ~0u, 0) < 0)
			die("close descriptors");
		if (cold)
			exit(dl_serve(3, NULL));
		char name[] = "engine";
		char *argv[] = {name, NULL};
		if (putenv((char *)"DOCKLOCK_CONTROL=3"))
			die("set the environment");
		syscall(SYS_execveat, 4, "", argv, environ, AT_EMPTY_PATH);
		die("execute the engine image");
	}
	close(4);
	close(5);
	close(go[0]);
	if (map_ids(zygote, root) < 0)
		die("map the unprivileged user");
	int userns = -1;
	if (root) {
		char path[64];
		snprintf(path, sizeof path, "/proc/%d/ns/user", zygote);
		userns = open(path, O_RDONLY | O_CLOEXEC);
		if (userns < 0)
			die("open the zygote's user namespace");
	}
	if (write(go[1], "", 1) != 1)
		die("start the zygote");
	close(go[1]);

	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	int sfd = signalfd(-1, &chld, SFD_CLOEXEC);
	if (sfd < 0)
		die("watch the zygote");
	for (;;) {
		struct pollfd p[2] = {{3, POLLIN, 0}, {sfd, POLLIN, 0}};
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			die("wait");
		if (p[1].revents)
			break; /* the zygote has ended */
		if (!p[0].revents)
			continue;
		struct dl_packet k;
		union {
			char b[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} c;
		struct iovec iov = {&k, sizeof k};
		struct msghdr m;
		memset(&m, 0, sizeof m);
		m.msg_iov = &iov;
		m.msg_iovlen = 1;
		m.msg_control = c.b;
		m.msg_controllen = sizeof c.b;
		ssize_t n = recvmsg(3, &m, MSG_CMSG_CLOEXEC);
		if (n != (ssize_t)sizeof k)
			break; /* the node has gone */
		int list = -1;
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
			memcpy(&list, CMSG_DATA(h), sizeof list);
		if (k.kind == DL_PREPARE)
			prepare(3, stage, k.id, list, root, userns);
		if (list >= 0)
			close(list);
	}
	kill(zygote, SIGKILL);
	int st = 0;
	while (waitpid(zygote, &st, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(st) ? WEXITSTATUS(st) : 0;
}

#include "probe.h"

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "probe"))
		return probe(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "serve"))
		return serve(argv[2], (unsigned)atoi(argv[3]), !strcmp(argv[4], "cold"));
	fprintf(stderr, "usage: docklock-supervisor serve STAGE FLAGS zygote|cold; docklock-supervisor probe STAGE\n");
	return 2;
}
