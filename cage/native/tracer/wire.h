/* wire.h: what the node and the tracer say to each other. Little-endian, packed by hand; the Go side is strict_wire.go.
 *
 * The tracer is started once a run:  docklock-tracer run STAGE     (docklock-tracer probe STAGE prints a line a wall)
 * with the descriptors below. Closing the node's end of TJ_CONTROL ends the cage and everything in it. */
#ifndef DOCKLOCK_TRACER_WIRE_H
#define DOCKLOCK_TRACER_WIRE_H

#include <stdint.h>

enum {
	TJ_CONTROL = 3, /* seqpacket socket: the tracer writes a struct tj_done of kind TJ_STARTED, then one that says the end, and ends */
	TJ_JOB = 4,     /* memfd: struct tj_job and what follows it */
	TJ_STDIN = 5,   /* memfd, read-only */
	TJ_STDOUT = 6,  /* memfd */
	TJ_STDERR = 7,  /* memfd */
	TJ_EVENTS = 8,  /* pipe: a stream of struct tj_event, each with its payload */
	TJ_CACHE = 9,   /* a folder of the engine's own, for the places of patched instructions per file; may be absent */
};

#define TJ_MAGIC 0x314a5444u /* "DTJ1" */

enum tj_flags {
	TJ_RELAXED = 1,      /* real threads and processors: clocks and randomness are still virtual */
	TJ_READ_ONLY = 4,    /* nothing can be written but the standard streams: no /dev/shm, and no t among the mounts */
	TJ_NO_PROCESSES = 2, /* compute-only: threads, forks and execs after the first are refused with EPERM */
	TJ_SKIP_NET = 16,    /* walls that the machine does not give and the configuration allows to be missing */
	TJ_SKIP_IPC = 32,
	TJ_SKIP_UTS = 64,
};

/* struct tj_job is followed by filter_len struct sock_filter, then strings_len bytes of zero-terminated strings:
 * the working directory; argc arguments; envc variables; and for each mount its kind (one letter), its place in the
 * cage (absolute, clean) and its source. Kinds, applied in order:
 *   d  an empty folder (source empty)                      t  a tmpfs that the program may write (source: bytes, decimal)
 *   r  a host folder, read-only, recursive, no devices     f  a host file, read-only
 *   c  a host file, copied and writable, mode 0644         x  the same, mode 0755
 *   l  a symbolic link (source: what it points to)
 * /proc, /dev and /dev/shm are made by the tracer itself. */
struct tj_job {
	uint32_t magic, flags;
	uint32_t argc, envc, mounts, filter_len, strings_len;
	uint32_t cpu;          /* processor to pin the cage to; 0xffffffff: none */
	uint64_t epoch_ns;     /* start of the virtual clock, Unix time */
	uint8_t seed[32];
	uint64_t memory_bytes; /* address space of one process; also the size of writable tmpfs without one of their own */
	uint64_t output_bytes; /* stdout and stderr together; past it the cage ends with TJ_KILLED_OUTPUT */
	uint64_t file_bytes;   /* largest file (RLIMIT_FSIZE) */
	uint64_t cpu_ms;       /* of all processes together; past it TJ_NONE_CPU */
	uint64_t wall_ms;      /* past it TJ_NONE_WALL */
	uint64_t calls;        /* trapped calls of all threads; past it TJ_KILLED_CALLS */
	uint64_t virtual_ns;   /* virtual time since epoch_ns; past it TJ_KILLED_TIME */
	uint32_t files;        /* open descriptors a process */
	uint32_t processes;    /* threads and processes alive at once; past it clone answers EAGAIN */
	uint32_t spawned;      /* threads and processes ever; past it TJ_KILLED_PROCESSES */
	uint32_t reserved;
};

enum tj_kind {
	TJ_DONE = 1,    /* status says how the program ended: attestable */
	TJ_NONE = 2,    /* no result: reason says which limit nobody can attest */
	TJ_TROUBLE = 3, /* this machine: text and error say what */
	TJ_BAD_JOB = 4, /* the job itself cannot start here or anywhere: text and error say why (program missing, wrong architecture) */
	TJ_STARTED = 5, /* the root is composed and the program about to start; beside it, if there is an /out, its descriptor (O_PATH) */
};

enum tj_reason {
	TJ_NONE_WALL = 1, TJ_NONE_CPU = 2, TJ_NONE_OOM = 3, TJ_NONE_SPIN = 4 /* all threads wait for what cannot come is TJ_KILLED_DEADLOCK */,
	TJ_KILLED_OUTPUT = 17, TJ_KILLED_CALLS = 18, TJ_KILLED_TIME = 19, TJ_KILLED_PROCESSES = 20, TJ_KILLED_SECCOMP = 21,
	TJ_KILLED_DEADLOCK = 22,
};

struct tj_done {
	uint32_t magic, kind, reason;
	int32_t status;       /* wait status of the first program */
	int32_t error;        /* errno with TJ_TROUBLE and TJ_BAD_JOB */
	uint32_t spawned;     /* threads and processes ever made */
	uint64_t calls;       /* calls trapped: the same on every machine */
	uint64_t virtual_ns;  /* virtual time that passed */
	uint64_t events;      /* written to TJ_EVENTS */
	uint64_t memory_peak; /* largest address space of one process at its exits and execs, bytes; 0 if not known */
	uint64_t cpu_us;      /* not attestable */
	uint64_t stops;       /* ptrace stops; not attestable */
	char text[200];
};

/* An event is a fact that every machine sees in the same order. payload_len bytes follow. */
struct tj_event {
	uint32_t payload_len; /* at most TJ_EVENT_MAX */
	uint32_t kind;        /* enum tj_event_kind */
	uint32_t tid;         /* as the program sees it */
};
#define TJ_EVENT_MAX (1u << 20)
#define TJ_OPENED (1ull << 32) /* opened for reading; under which descriptor was not waited for */

/* Payload: integers are little-endian uint64; strings come last and end with the payload, or are zero-terminated where
 * several follow. */
enum tj_event_kind {
	TJ_EXEC = 1,    /* path \0, each argument \0 */
	TJ_OPEN = 2,    /* flags, result (a descriptor, a negative errno, or TJ_OPENED), path */
	TJ_WRITE = 3,   /* descriptor (1 or 2), then the bytes written; the node puts their digest in the chain */
	TJ_RANDOM = 4,  /* bytes asked for, purpose */
	TJ_CLONE = 5,   /* flags, tid of the child */
	TJ_SIGNAL = 6,  /* number, delivered to tid */
	TJ_EXIT = 7,    /* wait status of the process, or the thread, that ended */
	TJ_LIMIT = 8,   /* enum tj_reason */
	TJ_REFUSED = 9, /* number of a call that the cage does not know and answered with ENOSYS */
	TJ_CHANGE = 10, /* call number, result, path \0 [path]: mkdir, unlink, rename, link, symlink, chmod, truncate, utimens */
	TJ_READ = 11,   /* reserved */
};

#endif
