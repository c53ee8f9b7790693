/* fam_plugin.h: what a fam-build plugin in C is written against. fam_plugin.c, which is compiled along with the plugin, does
 * what is declared here: it speaks the protocol of plugins (docs/plugins/protocol.md), version 1.
 *
 * A plugin is a description and a few functions, none of which must be there, and one line that makes a dynamic library of
 * them:
 *
 *     static const fam_plugin plugin = {
 *         .description = "{ \"name\": \"motd\", \"summary\": \"greets at login\", \"stages\": [\"system\"] }",
 *         .apply_system = apply_system,
 *     };
 *     FAM_PLUGIN_EXPORT(plugin);
 *
 * or, in its place, an executable: int main(void) { return fam_main(&plugin); }
 *
 * Each function gets the host, by which it does everything. It gives FAM_OK, or the code of what went wrong: what fam_fail or
 * fam_fail_setting gave, or what another call gave, whose words the build then shows.
 *
 * Paths are always those of the image; a plugin never sees where it lies. It runs in a process of its own, which has no
 * network, sees the host's files read-only, and ends with the call: keep nothing in memory for the next.
 *
 * Text that a plugin gives ends with a NUL. What the host gives is a fam_slice: bytes with their length, and a NUL behind them.
 * It stays until the next call with that host; what fam_lookup gives stays for good. Nobody frees anything. A host is used by
 * one thread at a time.
 */
#ifndef FAM_PLUGIN_H
#define FAM_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a call went. */
enum {
    FAM_OK = 0,
    FAM_NOT_FOUND = 1,
    FAM_ALREADY_EXISTS = 2,
    FAM_NOT_A_DIRECTORY = 3,
    FAM_NOT_A_FILE = 4,
    FAM_LINK_LOOP = 5,
    FAM_BAD_PATH = 6,
    FAM_FAILED = 100 /* fam_error has the words */
};

typedef struct fam_slice {
    const char *data;
    size_t len;
} fam_slice;

typedef struct fam_host fam_host;
typedef int (*fam_function)(fam_host *host);

typedef struct fam_plugin {
    /* As JSON: {"name": "motd", "summary": "greets at login", "stages": ["system", "node"], "version": "1.0",
     * "after": ["users"], "reads": ["file"], "copies": ["tree"], "network": false,
     * "provides": []}. All behind the stages may be left out; docs/plugins/protocol.md says what it
     * means. */
    const char *description;
    fam_function check;        /* before anything is fetched: whether the settings fit */
    fam_function apply_system; /* once, for the system that all nodes share */
    fam_function apply_node;   /* once for each node: what it alone gets */
    fam_function ssh_keys;     /* once, where the description provides "ssh-keys": tells them by fam_ssh_keys */
} fam_plugin;

/* What went wrong in the last call that failed, in words. */
const char *fam_error(const fam_host *host);
/* Says why the function is about to give up, in its own words; gives FAM_FAILED. */
int fam_fail(fam_host *host, const char *message);
/* The same, where a setting does not fit: its name, what is wrong, and what to write instead, which may be NULL. */
int fam_fail_setting(fam_host *host, const char *key, const char *message, const char *hint);
/* A line for the log; for the screen, too, if it is a warning. */
int fam_log(fam_host *host, int warning, const char *message);

/* What fam_lookup looks into. */
enum {
    FAM_SETTINGS = 0, /* what the recipe says in [plugin.settings] */
    FAM_FACTS = 1,    /* what is known of the build: suite, mirror, nodes, source_date_epoch, ... */
    FAM_NODE = 2      /* at the node stage: number, name, mac, address, ipv6 */
};

/* The value at a JSON pointer (RFC 6901), as "/text" or "/nodes/0/name": a string as it is, anything else as JSON, the whole
 * document for an empty pointer. FAM_NOT_FOUND where there is none. */
int fam_lookup(fam_host *host, int document, const char *pointer, fam_slice *out);

/* Whose secret: the plugin's own (of the node at the node stage, else of the cluster), that of the cluster, or, from 1 on,
 * that of the node with this number. */
#define FAM_OWN (-1)
#define FAM_CLUSTER 0

/* 32 bytes that nobody can guess, and that are the same in every build with the same seed. Begin labels with the plugin's
 * name. */
int fam_secret(fam_host *host, int64_t scope, const char *label, uint8_t out[32]);

/* In ssh_keys: by which keys the host reaches the nodes, as JSON: {"private-key": "-----BEGIN ...", "host-keys": {"fabric1":
 * ["ssh-ed25519 AAAA..."], ...}}, with a member of host-keys for each node. */
int fam_ssh_keys(fam_host *host, const char *json);

/* All that follows is for apply_system and apply_node. Symbolic links are followed as in the finished system; where `follow`
 * is an argument, 0 means the link itself. */

enum { FAM_FILE = 0, FAM_DIRECTORY = 1, FAM_SYMLINK = 2, FAM_SPECIAL = 3 };

typedef struct fam_metadata {
    uint32_t file_type; /* FAM_FILE, ... */
    uint32_t mode;      /* permission bits */
    uint32_t uid, gid;
    uint64_t size; /* of a regular file */
} fam_metadata;

enum { FAM_WITH_MODE = 1, FAM_WITH_OWNER = 2 };

/* Mode and owner of a file that is written. What is not given stays as it was, or is 0644 and root's for a new file. */
typedef struct fam_attributes {
    uint32_t given; /* FAM_WITH_MODE | FAM_WITH_OWNER */
    uint32_t mode;
    uint32_t uid, gid;
} fam_attributes;

/* The path without links, "." and ".." that a path means. */
int fam_resolve(fam_host *host, const char *path, int follow, fam_slice *out);
/* What stands at a path; target, which may be NULL, is where a symbolic link leads. */
int fam_stat(fam_host *host, const char *path, int follow, fam_metadata *out, fam_slice *target);
int fam_read(fam_host *host, const char *path, fam_slice *out);
/* Replaces a whole file, or makes it; its directory must be there. attributes may be NULL. */
int fam_write(fam_host *host, const char *path, const void *data, size_t len, const fam_attributes *attributes);
/* The same with the bytes of a file beside the recipe, which a setting among "copies" names by this digest and size; at the
 * system stage only. */
int fam_copy(fam_host *host, const char *sha256, uint64_t size, const char *path, const fam_attributes *attributes);
int fam_append(fam_host *host, const char *path, const void *data, size_t len);
/* Adds a line to the end of a file unless it has such a line. */
int fam_ensure_line(fam_host *host, const char *path, const char *line);
/* The names in a directory, sorted, each with a NUL at its end. */
int fam_list(fam_host *host, const char *path, fam_slice *out);
int fam_create_dir(fam_host *host, const char *path, uint32_t mode);
/* With all directories above, of mode 0755; that it is there already is no error. */
int fam_create_dirs(fam_host *host, const char *path);
/* A symbolic link at path. One that is there is replaced. */
int fam_symlink(fam_host *host, const char *target, const char *path);
/* A directory with all that is in it. */
int fam_remove(fam_host *host, const char *path);
int fam_set_mode(fam_host *host, const char *path, uint32_t mode);
int fam_set_owner(fam_host *host, const char *path, uint32_t uid, uint32_t gid, int follow);
/* The names of the extended attributes, each with a NUL at its end. */
int fam_xattrs(fam_host *host, const char *path, fam_slice *out);
int fam_xattr(fam_host *host, const char *path, const char *name, fam_slice *out);
int fam_set_xattr(fam_host *host, const char *path, const char *name, const void *value, size_t len);

/* In apply_system only: runs a program inside the new system. Both lists end with NULL. The first argument is the program; the
 * environment, which may be NULL, is of NAME=VALUE, beside a small fixed one. status is that of its exit, or 128 and the
 * signal; output, which may be NULL, is what it printed on both outputs. FAM_OK says that it ran, whatever its status. */
int fam_run(fam_host *host, const char *const arguments[], const char *const environment[], int *status, fam_slice *output);
/* The same with the network of the host, which a plugin has whose description says "network": true, where the recipe says
 * network = true in its settings. A build that uses it is not reproducible. */
int fam_run_with_network(fam_host *host, const char *const arguments[], const char *const environment[], int *status,
                         fam_slice *output);
/* As JSON: {"name": "ann", "uid": 1000, "group": "users", "groups": ["sudo"], "comment": "", "home": "/home/ann",
 * "shell": "/bin/bash", "password-hash": "$6$...", "system": false}. Only the name is needed. */
int fam_add_user(fam_host *host, const char *json);
/* As JSON: {"name": "crew", "gid": 200, "system": true}. */
int fam_add_group(fam_host *host, const char *json);

/* Answers the one call that comes over the descriptor, and closes that. Gives the status for the process to end with. */
int fam_serve(int descriptor, const fam_plugin *plugin);
/* The same over standard input and output. What the plugin prints goes to standard error from then on. */
int fam_main(const fam_plugin *plugin);

#if defined(__GNUC__)
#define FAM_PLUGIN_VISIBLE __attribute__((visibility("default")))
#else
#define FAM_PLUGIN_VISIBLE
#endif

/* By which fam-build finds a plugin in a dynamic library. */
FAM_PLUGIN_VISIBLE int fam_plugin_main(int descriptor);

#define FAM_PLUGIN_EXPORT(plugin)                   \
    int fam_plugin_main(int descriptor)             \
    {                                               \
        return fam_serve(descriptor, &(plugin));    \
    }                                               \
    struct fam_plugin /* takes the semicolon */

#ifdef __cplusplus
}
#endif

#endif
