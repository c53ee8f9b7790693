/* fam_plugin.h: what a fam-build plugin in C is written against, version 1.0 of the interface.
 *
 * A plugin is a dynamic library that exports one symbol, FAM_PLUGIN, a table of four functions:
 *
 *     FAM_PLUGIN_EXPORT(describe, check, apply_system, apply_node);
 *
 * Each gets the host, through which it does everything, and gives FAM_OK, or FAM_FAILED after it said why by `fail`.
 * What a plugin may do is what a fam_host holds. Paths are always those of the image; a plugin never sees where it lies.
 * The program loads a plugin into a process of its own, which has no network, sees the host's files read-only, and ends
 * with the call: keep nothing in memory for the next.
 *
 * Bytes cross as fam_slice, a pointer with a length. What the plugin gives is read during the call only. What the host
 * gives stays until the plugin's next call of a host function: copy what you need longer. Nobody frees anything.
 */
#ifndef FAM_PLUGIN_H
#define FAM_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FAM_PLUGIN_MAGIC UINT64_C(0x0047554c504d4146) /* "FAMPLUG" and a NUL, in memory */
#define FAM_PLUGIN_MAJOR 1
#define FAM_PLUGIN_MINOR 0

/* How a call went. */
enum {
    FAM_OK = 0,
    FAM_NOT_FOUND = 1,
    FAM_ALREADY_EXISTS = 2,
    FAM_NOT_A_DIRECTORY = 3,
    FAM_NOT_A_FILE = 4,
    FAM_LINK_LOOP = 5,
    FAM_BAD_PATH = 6,
    FAM_FAILED = 100 /* last_error has the words */
};

/* Why a plugin gives up, for fail. */
enum {
    FAM_FAIL_OTHER = 0,   /* in its own words; no key */
    FAM_FAIL_SETTING = 1, /* a setting does not fit; the key is its name */
    FAM_FAIL_RUN = 2,     /* a program failed; the key is its command line */
    FAM_FAIL_PANIC = 3    /* the plugin is broken; no key */
};

/* What lookup looks into. */
enum {
    FAM_SETTINGS = 0, /* what the recipe says in [plugin.settings] */
    FAM_FACTS = 1,    /* what is known of the build: suite, mirror, nodes, source_date_epoch, ... */
    FAM_NODE = 2      /* at the node stage: number, name, mac, address */
};

/* Whose secret: the plugin's own (of the node at the node stage, else of the cluster), that of the cluster, or, from 1 on,
 * that of the node with this number. */
#define FAM_OWN (-1)
#define FAM_CLUSTER 0

typedef struct fam_slice {
    const uint8_t *data; /* may be NULL if len is 0 */
    size_t len;
} fam_slice;

/* The slice of a string literal or other string that ends with a NUL. */
static inline fam_slice fam_str(const char *text)
{
    fam_slice slice = { (const uint8_t *)text, strlen(text) };
    return slice;
}

static inline fam_slice fam_bytes(const void *data, size_t len)
{
    fam_slice slice = { (const uint8_t *)data, len };
    return slice;
}

enum { FAM_FILE = 0, FAM_DIRECTORY = 1, FAM_SYMLINK = 2, FAM_SPECIAL = 3 };

typedef struct fam_stat {
    uint32_t file_type; /* FAM_FILE, ... */
    uint32_t mode;      /* permission bits */
    uint32_t uid, gid;
    uint64_t size; /* of a regular file */
} fam_stat;

enum { FAM_WITH_MODE = 1, FAM_WITH_OWNER = 2 };

/* Mode and owner of a file that is written. What is not given stays as it was, or is 0644 and root's for a new file. */
typedef struct fam_attributes {
    uint32_t given; /* FAM_WITH_MODE | FAM_WITH_OWNER */
    uint32_t mode;
    uint32_t uid, gid;
} fam_attributes;

typedef struct fam_host fam_host;

/* What a plugin may call. The first argument is always the host itself, as in host->log(host, 0, fam_str("hello")).
 * Only log and secret may be called from other threads than the one that the plugin was called on. describe, log and
 * lookup of the settings work in every function; all others only in apply_system and apply_node.
 * Symbolic links are followed as in the finished system. Where `follow` is an argument, 0 means the link itself. */
struct fam_host {
    uint32_t size; /* of this table, in bytes */
    uint16_t major, minor;
    void *state;

    /* In `describe`: what the plugin is, as JSON: {"name": "motd", "summary": "greets at login", "version": "1.0",
     * "stages": ["system", "node"], "after": ["users"]}. version and after may be left out. */
    int32_t (*describe)(const fam_host *host, fam_slice json);
    /* Says why the function is about to give FAM_FAILED. key and hint may be empty. */
    void (*fail)(const fam_host *host, int32_t kind, fam_slice key, fam_slice message, fam_slice hint);
    /* What went wrong in the last call of the host that failed, in words. */
    void (*last_error)(const fam_host *host, fam_slice *out);
    /* A line for the log; for the screen, too, if it is a warning. */
    void (*log)(const fam_host *host, int32_t warning, fam_slice message);
    /* The value at a JSON pointer (RFC 6901), as "/text" or "/nodes/0/name": a string as it is, anything else as JSON, the
     * whole document for an empty pointer. FAM_NOT_FOUND where there is none. */
    int32_t (*lookup)(const fam_host *host, int32_t document, fam_slice pointer, fam_slice *out);
    /* 32 bytes that nobody can guess, and that are the same in every build with the same seed. Begin labels with the
     * plugin's name. */
    int32_t (*secret)(const fam_host *host, int64_t scope, fam_slice label, uint8_t (*out)[32]);

    /* The path without links, "." and ".." that a path means. */
    int32_t (*resolve)(const fam_host *host, fam_slice path, int32_t follow, fam_slice *out);
    /* What stands at a path; target, which may be NULL, is where a symbolic link leads. */
    int32_t (*stat)(const fam_host *host, fam_slice path, int32_t follow, fam_stat *out, fam_slice *target);
    int32_t (*read)(const fam_host *host, fam_slice path, fam_slice *out);
    /* Replaces a whole file, or makes it; its directory must be there. attributes may be NULL. */
    int32_t (*write)(const fam_host *host, fam_slice path, fam_slice contents, const fam_attributes *attributes);
    int32_t (*append)(const fam_host *host, fam_slice path, fam_slice contents);
    /* Adds a line to the end of a file unless it has such a line. */
    int32_t (*ensure_line)(const fam_host *host, fam_slice path, fam_slice line);
    /* The names in a directory, sorted, each with a NUL at its end. */
    int32_t (*list)(const fam_host *host, fam_slice path, fam_slice *out);
    int32_t (*create_dir)(const fam_host *host, fam_slice path, uint32_t mode);
    /* With all directories above, of mode 0755; that it is there already is no error. */
    int32_t (*create_dirs)(const fam_host *host, fam_slice path);
    /* A symbolic link at path. One that is there is replaced. */
    int32_t (*symlink)(const fam_host *host, fam_slice target, fam_slice path);
    /* A directory with all that is in it. */
    int32_t (*remove)(const fam_host *host, fam_slice path);
    int32_t (*set_mode)(const fam_host *host, fam_slice path, uint32_t mode);
    int32_t (*set_owner)(const fam_host *host, fam_slice path, uint32_t uid, uint32_t gid, int32_t follow);
    /* The names of the extended attributes, each with a NUL at its end. */
    int32_t (*xattrs)(const fam_host *host, fam_slice path, fam_slice *out);
    int32_t (*xattr)(const fam_host *host, fam_slice path, fam_slice name, fam_slice *out);
    int32_t (*set_xattr)(const fam_host *host, fam_slice path, fam_slice name, fam_slice value);

    /* In apply_system only: runs a program inside the new system. The first argument is the program; the environment is of
     * NAME=VALUE, beside a small fixed one. status is that of its exit, or 128 and the signal; output is what it printed on
     * both outputs. FAM_OK says that it ran, whatever its status. */
    int32_t (*run)(const fam_host *host, const fam_slice *arguments, size_t argument_count, const fam_slice *environment,
                   size_t environment_count, int32_t *status, fam_slice *output);
    /* As JSON: {"name": "ann", "uid": 1000, "group": "users", "groups": ["sudo"], "comment": "", "home": "/home/ann",
     * "shell": "/bin/bash", "password-hash": "$6$...", "system": false}. Only the name is needed. */
    int32_t (*add_user)(const fam_host *host, fam_slice json);
    /* As JSON: {"name": "crew", "gid": 200, "system": true}. */
    int32_t (*add_group)(const fam_host *host, fam_slice json);
};

typedef int32_t (*fam_function)(const fam_host *host);

/* What a plugin exports. The first four fields are the same in every version for ever. */
typedef struct fam_plugin {
    uint64_t magic;
    uint16_t major, minor;
    uint32_t size; /* of this table, in bytes */
    fam_function describe;
    fam_function check;
    fam_function apply_system;
    fam_function apply_node;
} fam_plugin;

#if defined(__GNUC__)
#define FAM_PLUGIN_VISIBLE __attribute__((visibility("default")))
#else
#define FAM_PLUGIN_VISIBLE
#endif

/* All four functions must be there; one that has nothing to do gives FAM_OK. */
#define FAM_PLUGIN_EXPORT(describe, check, apply_system, apply_node)                                                       \
    extern FAM_PLUGIN_VISIBLE const fam_plugin FAM_PLUGIN;                                                                 \
    const fam_plugin FAM_PLUGIN = { FAM_PLUGIN_MAGIC,   FAM_PLUGIN_MAJOR, FAM_PLUGIN_MINOR, sizeof(fam_plugin),            \
                                    describe,           check,            apply_system,     apply_node }

#ifdef __cplusplus
}
#endif

#endif
