/* net: attempts to speak with somebody outside. */
#include "escape.h"
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <mqueue.h>

static void try_connect(const char *what, int fd, const void *to, socklen_t n)
{
	if (fd < 0) {
		refused(what, fd);
		return;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	int r = connect(fd, to, n);
	if (r < 0 && errno == EINPROGRESS) {
		usleep(50000);
		r = connect(fd, to, n);
	}
	refused(what, r);
	close(fd);
}
static void loopback(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(canary("PORT")))};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	try_connect("the listener outside, by TCP", socket(AF_INET, SOCK_STREAM, 0), &a, sizeof a);
	struct sockaddr_in6 b = {.sin6_family = AF_INET6, .sin6_port = a.sin_port, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	try_connect("the listener outside, by IPv6", socket(AF_INET6, SOCK_STREAM, 0), &b, sizeof b);
	a.sin_addr.s_addr = htonl(0x01010101);
	a.sin_port = htons(53);
	try_connect("a server of the world", socket(AF_INET, SOCK_STREAM, 0), &a, sizeof a);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	refused("a datagram to the world", fd < 0 ? -1 : sendto(fd, "x", 1, 0, (void *)&a, sizeof a));
}
static void raw(void)
{
	REFUSED(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	REFUSED(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
	REFUSED(socket(AF_PACKET, SOCK_RAW, htons(3)));
	REFUSED(socket(AF_PACKET, SOCK_DGRAM, htons(3)));
}
static void families(void)
{
	static const struct { int family, type, protocol; const char *name; } all[] = {
		{AF_ALG, SOCK_SEQPACKET, 0, "AF_ALG"}, {AF_VSOCK, SOCK_STREAM, 0, "AF_VSOCK"}, {AF_KEY, SOCK_RAW, 2, "AF_KEY"}, {AF_BLUETOOTH, SOCK_RAW, 1, "AF_BLUETOOTH"},
		{AF_CAN, SOCK_RAW, 1, "AF_CAN"}, {AF_TIPC, SOCK_RDM, 0, "AF_TIPC"}, {AF_XDP, SOCK_RAW, 0, "AF_XDP"}, {AF_RDS, SOCK_SEQPACKET, 0, "AF_RDS"},
		{AF_NETLINK, SOCK_RAW, NETLINK_AUDIT, "audit"}, {AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT, "uevents"}, {AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER, "netfilter"},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		refused(all[i].name, socket(all[i].family, all[i].type, all[i].protocol));
}
static void interfaces(void)
{
	/* There may be a loopback of the cage's own, and nothing else. */
	struct ifreq r;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0) {
		refused("a socket", fd);
		return;
	}
	for (int i = 1; i < 50; i++) {
		memset(&r, 0, sizeof r);
		r.ifr_ifindex = i;
		if (ioctl(fd, SIOCGIFNAME, &r) == 0 && strcmp(r.ifr_name, "lo") != 0)
			got("interface %d is %s", i, r.ifr_name);
	}
	strcpy(r.ifr_name, "lo");
	r.ifr_flags = IFF_UP;
	refused("changing the interface", ioctl(fd, SIOCSIFFLAGS, &r));
}
static void unix_sockets(void)
{
	struct sockaddr_un a;
	memset(&a, 0, sizeof a);
	a.sun_family = AF_UNIX;
	const char *name = canary("ABSTRACT");
	strncpy(a.sun_path + 1, name, sizeof a.sun_path - 2);
	try_connect("an abstract socket outside", socket(AF_UNIX, SOCK_STREAM, 0), &a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
	memset(a.sun_path, 0, sizeof a.sun_path);
	strncpy(a.sun_path, canary("SOCKET"), sizeof a.sun_path - 1);
	try_connect("a socket outside by its path", socket(AF_UNIX, SOCK_STREAM, 0), &a, sizeof a);
	for (int i = 0; i < 3; i++) {
		struct { struct cmsghdr h; struct ucred c; } m = {{CMSG_LEN(sizeof(struct ucred)), SOL_SOCKET, SCM_CREDENTIALS}, {1, 0, 0}};
		char c = 'x';
		struct iovec v = {&c, 1};
		struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &m, .msg_controllen = sizeof m};
		int p[2];
		if (socketpair(AF_UNIX, SOCK_DGRAM, 0, p) != 0) {
			note("socketpair: %s", strerrorname_np(errno));
			break;
		}
		m.c.pid = i == 0 ? 1 : getpid();
		m.c.uid = i == 1 ? 12 : getuid();
		m.c.gid = i == 2 ? 12 : getgid();
		refused("the credentials of another", sendmsg(p[0], &h, 0));
	}
}
static void system_v(void)
{
	key_t key = (key_t)strtol(canary("SHM"), NULL, 0);
	REFUSED(shmget(key, 0, 0));
	REFUSED(semget(key, 0, 0));
	REFUSED(msgget(key, 0));
	struct shm_info info;
	int top = shmctl(0, 14 /* SHM_INFO */, (void *)&info);
	for (int i = 0; i <= top; i++) {
		struct shmid_ds ds;
		if (shmctl(i, 13 /* SHM_STAT */, &ds) >= 0)
			got("segment %d of others", i);
	}
	note("segments: %d", top);
	struct mq_attr a = {.mq_maxmsg = 5, .mq_msgsize = 100};
	mqd_t q = mq_open("/canary", O_RDWR);
	refused("a message queue outside", q);
	q = mq_open("/own", O_CREAT | O_RDWR, 0600, &a);
	note("a message queue of one's own: %s", q < 0 ? strerrorname_np(errno) : "made");
}

const struct attempt net_attempts[] = {
	{"loopback", loopback}, {"raw-sockets", raw}, {"socket-families", families}, {"interfaces", interfaces}, {"unix-sockets", unix_sockets},
	{"system-v", system_v}, {NULL, NULL},
};
