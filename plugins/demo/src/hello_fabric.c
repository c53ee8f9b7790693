/*
 * hello_fabric: a greeting to all nodes through the memory that they share.
 *
 *     cc -O2 -o hello_fabric hello_fabric.c        (or: make hello_fabric)
 *     sudo ./hello_fabric                          store this node's uname
 *     sudo ./hello_fabric --read                   show what every node stored
 *     sudo ./hello_fabric --count 1000             add 1000, one by one, to a counter that all nodes share
 *
 * The memory looks the same from every node and from the host, where it is a file (/dev/shm/fabric_em):
 *
 *     offset 0       header: magic "FAMHELLO", version, size and number of slots
 *     offset 64      the counter, 64 bits
 *     offset 4096    slot of node 1, 512 bytes; then node 2, and so on
 *
 * All fields are little-endian as the processor stores them. A node writes to its own slot only.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_FILE "@FILE@"
#define MAGIC UINT64_C(0x4f4c4c45484d4146) /* "FAMHELLO" */
#define VERSION 1
#define MAX_NODES 253
#define SLOTS_OFFSET 4096
#define SLOT_SIZE 512

struct header {
	_Atomic uint64_t magic; /* 0 until somebody stores something: fresh memory is all zeros */
	uint32_t version;
	uint32_t slot_size;
	uint32_t slots;
	uint32_t unused[11];
	_Atomic uint64_t counter; /* on a cache line of its own */
};

struct slot {
	_Atomic uint32_t sequence; /* odd while the text is being written; 0 if it never was */
	uint32_t node;
	int64_t time; /* seconds since 1970, by the clock of the node */
	char text[SLOT_SIZE - 16];
};

#define REGION_SIZE (SLOTS_OFFSET + MAX_NODES * SLOT_SIZE)

_Static_assert(sizeof(struct slot) == SLOT_SIZE, "the slot has the size that the layout says");
_Static_assert(offsetof(struct header, counter) == 64, "the counter lies where the layout says");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock in one node's memory would protect nothing");

static void fail(const char *what, const char *which)
{
	fprintf(stderr, "hello_fabric: %s %s: %s\n", what, which, strerror(errno));
	if (errno == EACCES || errno == EPERM)
		fprintf(stderr, "hint: only root may use the shared memory: sudo ./hello_fabric\n");
	if (errno == ENOENT)
		fprintf(stderr, "hint: was this machine started with the shared memory? systemctl status fabric-symlink\n");
	exit(1);
}

static void usage(FILE *stream)
{
	fprintf(stream,
		"usage: hello_fabric [--file FILE] [--node N] [--read | --count N]\n"
		"  --file FILE   the shared memory (default " DEFAULT_FILE ")\n"
		"  --node N      number of this node (default: the digits that end its host name)\n"
		"  --read        show what every node stored\n"
		"  --count N     add N, one by one, to the counter that all nodes share\n");
}

/* A number from least to most, or -1. */
static long long number(const char *text, long long least, long long most)
{
	char *end;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	return errno || end == text || *end || value < least || value > most ? -1 : value;
}

static int node_of(const char *host)
{
	size_t length = strcspn(host, "."), start = length;
	char digits[8] = "";
	while (start > 0 && isdigit((unsigned char)host[start - 1]))
		start--;
	if (length - start >= sizeof(digits))
		return -1;
	memcpy(digits, host + start, length - start);
	return (int)number(digits, 1, MAX_NODES);
}

/* A number that the kernel tells of a device with direct access to memory. */
static long long attribute(const struct stat *status, const char *name, const char *path)
{
	char file[64], text[32] = "";
	snprintf(file, sizeof(file), "/sys/dev/char/%u:%u/%s", major(status->st_rdev), minor(status->st_rdev), name);
	FILE *stream = fopen(file, "re");
	if (!stream || !fgets(text, sizeof(text), stream))
		fail("ask the size of", path);
	fclose(stream);
	return strtoll(text, NULL, 0);
}

static void *map(const char *path)
{
	struct stat status;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fail("open", path);
	if (fstat(fd, &status) < 0)
		fail("look at", path);
	long long size = status.st_size, length = REGION_SIZE;
	if (S_ISCHR(status.st_mode)) {
		/* NVDIMM and CXL: the device has no size as a file, and is mapped in whole pages of its own. */
		long long align = attribute(&status, "align", path);
		size = attribute(&status, "size", path);
		if (align > 0)
			length = (length + align - 1) / align * align;
	}
	if (size < length) {
		fprintf(stderr, "hello_fabric: %s has %lld bytes, and %lld are needed\n", path, size, length);
		exit(1);
	}
	void *memory = mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		fail("map", path);
	close(fd);
	return memory;
}

/* Makes the header where there is none. Nodes that do so at the same time write the same. */
static void prepare(struct header *header, const char *path)
{
	uint64_t magic = atomic_load(&header->magic);
	if (magic == 0) {
		header->version = VERSION;
		header->slot_size = SLOT_SIZE;
		header->slots = MAX_NODES;
		if (atomic_compare_exchange_strong(&header->magic, &magic, MAGIC))
			magic = MAGIC;
	}
	if (magic != MAGIC) {
		fprintf(stderr, "hello_fabric: %s holds something else, which is left alone\n", path);
		exit(1);
	}
	if (header->version != VERSION || header->slot_size != SLOT_SIZE || header->slots != MAX_NODES) {
		fprintf(stderr, "hello_fabric: %s was written by another version of this program\n", path);
		exit(1);
	}
}

static void store(struct slot *slot, int node, const struct utsname *name, const char *path)
{
	char text[sizeof(slot->text)];
	memset(text, 0, sizeof(text));
	snprintf(text, sizeof(text), "%.64s %.64s %.64s %.64s %.64s", name->sysname, name->nodename, name->release,
		 name->version, name->machine);

	/* An odd sequence tells readers that the text is not whole. One that a crash left odd counts on as well. */
	uint32_t sequence = atomic_load(&slot->sequence) | 1;
	atomic_store(&slot->sequence, sequence);
	atomic_thread_fence(memory_order_seq_cst);
	slot->node = (uint32_t)node;
	slot->time = (int64_t)time(NULL);
	memcpy(slot->text, text, sizeof(text));
	atomic_thread_fence(memory_order_seq_cst);
	atomic_store(&slot->sequence, sequence + 1 ? sequence + 1 : 2);

	size_t offset = SLOTS_OFFSET + (size_t)(node - 1) * SLOT_SIZE + offsetof(struct slot, text);
	printf("node %d stored: %s\n", node, text);
	printf("at byte %zu of %s, which every node and the host see. To look:\n", offset, path);
	printf("  on any node   sudo ./hello_fabric --read\n");
	printf("  on the host   strings -n 8 /dev/shm/fabric_em | head\n");
}

/* Copies a slot out, whole. Gives 0 if nothing was stored, -1 if its writer never finishes. */
static int copy(struct slot *slot, struct slot *out)
{
	for (int tries = 0; tries < 100000; tries++) {
		uint32_t before = atomic_load(&slot->sequence);
		if (before == 0)
			return 0;
		if (before & 1)
			continue;
		atomic_thread_fence(memory_order_seq_cst);
		out->node = slot->node;
		out->time = slot->time;
		memcpy(out->text, slot->text, sizeof(out->text));
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load(&slot->sequence) == before) {
			out->text[sizeof(out->text) - 1] = 0;
			return 1;
		}
	}
	return -1;
}

static void show(struct header *header, struct slot *slots)
{
	int stored = 0;
	for (int node = 1; node <= MAX_NODES; node++) {
		struct slot slot;
		int found = copy(&slots[node - 1], &slot);
		if (found == 0)
			continue;
		stored++;
		if (found < 0) {
			printf("node %d: did not finish storing\n", node);
			continue;
		}
		char when[32] = "";
		struct tm utc;
		time_t seconds = (time_t)slot.time;
		if (gmtime_r(&seconds, &utc))
			strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &utc);
		/* Other nodes wrote this: print nothing that a terminal would obey. */
		for (char *c = slot.text; *c; c++)
			if (!isprint((unsigned char)*c))
				*c = '?';
		printf("node %d, %s: %s\n", node, when, slot.text);
	}
	if (!stored)
		printf("no node stored anything yet\n");
	printf("counter: %" PRIu64 "\n", (uint64_t)atomic_load(&header->counter));
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "file", required_argument, NULL, 'f' }, { "node", required_argument, NULL, 'n' },
		{ "read", no_argument, NULL, 'r' },	  { "count", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },	  { NULL, 0, NULL, 0 },
	};
	const char *path = DEFAULT_FILE;
	int reads = 0, node = 0, option;
	long long count = 0;

	while ((option = getopt_long(argc, argv, "f:n:rc:h", options, NULL)) != -1) {
		switch (option) {
		case 'f':
			path = optarg;
			break;
		case 'n':
			node = (int)number(optarg, 1, MAX_NODES);
			if (node < 0) {
				fprintf(stderr, "hello_fabric: --node takes 1 to %d\n", MAX_NODES);
				return 2;
			}
			break;
		case 'r':
			reads = 1;
			break;
		case 'c':
			count = number(optarg, 1, 1000000000);
			if (count < 0) {
				fprintf(stderr, "hello_fabric: --count takes 1 to 1000000000\n");
				return 2;
			}
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc || (reads && count)) {
		usage(stderr);
		return 2;
	}

	struct utsname name;
	if (uname(&name) < 0)
		fail("uname", "");
	if (!reads && !count && !node && (node = node_of(name.nodename)) < 0) {
		fprintf(stderr, "hello_fabric: host name %s does not end in a node's number\nhint: use --node N\n",
			name.nodename);
		return 1;
	}

	char *memory = map(path);
	struct header *header = (struct header *)memory;
	struct slot *slots = (struct slot *)(memory + SLOTS_OFFSET);
	prepare(header, path);
	if (count) {
		uint64_t value = 0;
		for (long long i = 0; i < count; i++)
			value = atomic_fetch_add(&header->counter, 1) + 1;
		printf("added %lld; the counter is at %" PRIu64 "\n", count, value);
	} else if (reads) {
		show(header, slots);
	} else {
		store(&slots[node - 1], node, &name, path);
	}
	return 0;
}
