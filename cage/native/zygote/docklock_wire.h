/* docklock_wire.h: what the node, the supervisor and a zygote say to each other over SOCK_SEQPACKET sockets.
 *
 * Every packet is one struct dl_packet; larger things travel as file descriptors beside it. Both ends are one version
 * of one program, but for engine images: DL_WIRE_VERSION is in their HELLO and in their note.
 */
#ifndef DOCKLOCK_WIRE_H
#define DOCKLOCK_WIRE_H

#include <stdint.h>

#define DL_WIRE_VERSION 1

enum dl_kind {
	DL_HELLO = 1,   /* zygote to node: warm; status is DL_WIRE_VERSION */
	DL_RUN = 2,     /* node to zygote: id; fds: job, stdin, stdout, stderr, root [, program] */
	DL_KILL = 3,    /* node to zygote: id */
	DL_DONE = 4,    /* zygote to node: id, status (of wait), cpu_us; or error and stage */
	DL_PREPARE = 5, /* node to supervisor: id; fd: list of mounts. Answer: fds root, out; or error and stage */
};

struct dl_packet {
	uint32_t kind;
	uint32_t flags;
	uint64_t id;
	int32_t status;
	int32_t error; /* errno of what failed, 0 for none */
	uint64_t cpu_us;
	char stage[32]; /* what failed */
};

/* Flags, both of a job and of the supervisor's command line: walls left out because the configuration names them. */
#define DL_SKIP_NET 1u
#define DL_SKIP_IPC 2u
#define DL_SKIP_UTS 4u
#define DL_SKIP_SECCOMP 8u

#define DL_JOB_MAGIC 0x314a4c44u /* DLJ1 */
#define DL_JOB_MAX (1u << 20)
#define DL_JOB_STRINGS 1024u

/* A job: this, then filter instructions (8 bytes each), then argc + envc strings, each ended by a zero byte. */
struct dl_job {
	uint32_t magic, flags, argc, envc;
	uint64_t memory_bytes, output_bytes, cpu_seconds;
	uint32_t files, filter_len, strings_len, zero;
};

#define DL_MOUNTS_MAGIC 0x314d4c44u /* DLM1 */
#define DL_MOUNTS_MAX (32u << 20)
#define DL_MOUNTS_INPUTS 4096u

/* The mounts of a job: this, then for each input a path below /in and a host path, each ended by a zero byte. */
struct dl_mounts {
	uint32_t magic, inputs;
	uint64_t tmp_bytes, out_bytes;
	uint32_t out_files, strings_len;
};

#endif
