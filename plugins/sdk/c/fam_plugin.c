/* fam_plugin.c: the protocol of fam-build's plugins, for plugins in C. It is compiled along with the plugin, by any compiler
 * of C99, and needs nothing but POSIX. Nothing that comes over the descriptor is trusted: each line is checked to be JSON
 * before anything of it is used, every piece of it has its end, and what memory cannot hold is an error.
 */
#define _POSIX_C_SOURCE 200809L

#include "fam_plugin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fam_protocol.h"

#define VERSION 1
#define REBUILD "build it again with the SDK of this program: `fam-build plugin new` brings it along"

const char *fam_error(const fam_host *host)
{
    return slice(&host->error).data;
}

static int fail(fam_host *host, const char *kind, const char *key, const char *message, const char *hint)
{
    begin(&host->failure, "fail");
    put_string(&host->failure, "kind", kind);
    if (key != NULL)
        put_string(&host->failure, "key", key);
    put_string(&host->failure, "message", message);
    if (hint != NULL)
        put_string(&host->failure, "hint", hint);
    return FAM_FAILED;
}

int fam_fail(fam_host *host, const char *message)
{
    return fail(host, "other", NULL, message, NULL);
}

int fam_fail_setting(fam_host *host, const char *key, const char *message, const char *hint)
{
    return fail(host, "setting", key, message, hint);
}

int fam_log(fam_host *host, int warning, const char *message)
{
    begin(&host->request, "log");
    put_string(&host->request, "message", message);
    if (warning)
        put_raw(&host->request, "warning", "true");
    return ask(host);
}

/* The member or element that the next part of a pointer names; `token` has room for that part. */
static int descend(struct piece *value, const char **pointer, struct text *token, struct text *decoded)
{
    struct piece key = { NULL, NULL }, found;
    const char *at = NULL;
    uint64_t index, i;

    clear(token);
    for ((*pointer)++; **pointer != '\0' && **pointer != '/'; (*pointer)++) {
        if (**pointer == '~' && ((*pointer)[1] == '0' || (*pointer)[1] == '1'))
            add(token, *++*pointer == '0' ? "~" : "/", 1);
        else
            add(token, *pointer, 1);
    }
    if (token->broken)
        return 0;
    if (*value->at == '[') {
        struct piece digits = { token->data, token->data + token->len };

        if (!number(digits, UINT32_MAX, &index))
            return 0;
        for (i = 0; step(*value, &at, &key, &found); i++)
            if (i == index)
                return (*value = found, 1);
        return 0;
    }
    while (*value->at == '{' && step(*value, &at, &key, &found)) {
        clear(decoded);
        if (decode(key, decoded) && decoded->len == token->len && memcmp(decoded->data, token->data, token->len) == 0)
            return (*value = found, 1);
    }
    return 0;
}

int fam_lookup(fam_host *host, int document, const char *pointer, fam_slice *out)
{
    static const char *const names[] = { "settings", "facts", "node" };
    const char *at = pointer;
    struct piece value;
    struct kept *kept;
    int found = document >= 0 && document < 3 && member(host->call, names[document], &value);

    empty(out);
    while (found && *at == '/')
        found = descend(&value, &at, &host->request, &host->result);
    if (!found || *at != '\0')
        return wrong(host, FAM_NOT_FOUND, "there is no ", pointer, "");
    kept = calloc(1, sizeof *kept);
    if (kept == NULL)
        return wrong(host, FAM_FAILED, "", "", "there is no memory");
    kept->next = host->kept;
    host->kept = kept;
    clear(&kept->text);
    if (*value.at != '"' || *pointer == '\0')
        add(&kept->text, value.at, (size_t)(value.end - value.at));
    else if (!decode(value, &kept->text))
        return broken(host);
    *out = slice(&kept->text);
    return kept->text.broken ? broken(host) : FAM_OK;
}

int fam_secret(fam_host *host, int64_t scope, const char *label, uint8_t out[32])
{
    fam_slice text;
    int code, i;

    if (scope < FAM_OWN || scope > (int64_t)UINT32_MAX)
        return wrong(host, FAM_FAILED, "", "", "there is no such node");
    begin(&host->request, "secret");
    put_string(&host->request, "label", label);
    if (scope != FAM_OWN)
        put_number(&host->request, "node", (uint32_t)scope);
    code = ask_for(host, "secret", &text);
    if (code != FAM_OK)
        return code;
    if (text.len != 64)
        return broken(host);
    for (i = 0; i < 64; i++)
        if (hex_digit(text.data[i]) < 0)
            return broken(host);
    for (i = 0; i < 32; i++)
        out[i] = (uint8_t)(hex_digit(text.data[2 * i]) << 4 | hex_digit(text.data[2 * i + 1]));
    return FAM_OK;
}

int fam_ssh_keys(fam_host *host, const char *json)
{
    int code = put_members(host, "ssh-keys", json);

    return code == FAM_OK ? ask(host) : code;
}

int fam_resolve(fam_host *host, const char *path, int follow, fam_slice *out)
{
    begin_at(host, "resolve", path);
    put_raw(&host->request, "follow", follow ? "true" : "false");
    return ask_for(host, "path", out);
}

int fam_stat(fam_host *host, const char *path, int follow, fam_metadata *out, fam_slice *target)
{
    static const char *const types[] = { "file", "directory", "symlink", "special" };
    struct piece stat, value, digits;
    uint64_t uid, gid, size;
    long mode;
    int code, type;
    char *end;

    begin_at(host, "stat", path);
    put_raw(&host->request, "follow", follow ? "true" : "false");
    code = ask(host);
    empty(target);
    if (code != FAM_OK)
        return code;
    if (!member(host->reply, "stat", &stat) || !member(stat, "type", &value))
        return broken(host);
    for (type = 0; type < 4 && !says(value, types[type]); type++)
        ;
    if (type == 4 || !member(stat, "uid", &value) || !number(value, UINT32_MAX, &uid) || !member(stat, "gid", &value) ||
        !number(value, UINT32_MAX, &gid) || !member(stat, "size", &value) || !number(value, UINT64_MAX, &size) ||
        !member(stat, "mode", &digits) || !decode(digits, &host->result))
        return broken(host);
    mode = strtol(host->result.data, &end, 8);
    if (host->result.len == 0 || *end != '\0' || mode < 0 || mode > 07777)
        return broken(host);
    clear(&host->result);
    if (target != NULL && member(stat, "target", &value)) {
        if (!decode_bytes(value, &host->result))
            return broken(host);
        *target = slice(&host->result);
    }
    out->file_type = (uint32_t)type;
    out->mode = (uint32_t)mode;
    out->uid = (uint32_t)uid;
    out->gid = (uint32_t)gid;
    out->size = size;
    return FAM_OK;
}

int fam_read(fam_host *host, const char *path, fam_slice *out)
{
    begin_at(host, "read", path);
    return ask_for(host, "contents", out);
}

static void put_attributes(struct text *request, const fam_attributes *attributes)
{
    char owner[32];

    if (attributes != NULL && (attributes->given & FAM_WITH_MODE) != 0)
        put_number(request, "mode", attributes->mode);
    if (attributes != NULL && (attributes->given & FAM_WITH_OWNER) != 0) {
        snprintf(owner, sizeof owner, "[%lu,%lu]", (unsigned long)attributes->uid, (unsigned long)attributes->gid);
        put_raw(request, "owner", owner);
    }
}

int fam_write(fam_host *host, const char *path, const void *data, size_t len, const fam_attributes *attributes)
{
    if (too_large(host, "write ", path, len) != FAM_OK)
        return FAM_FAILED;
    begin_at(host, "write", path);
    put(&host->request, "contents", data, len);
    put_attributes(&host->request, attributes);
    return ask(host);
}

int fam_copy(fam_host *host, const char *sha256, uint64_t size, const char *path, const fam_attributes *attributes)
{
    char digits[32];

    begin_at(host, "copy", path);
    put_string(&host->request, "sha256", sha256);
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)size);
    put_raw(&host->request, "size", digits);
    put_attributes(&host->request, attributes);
    return ask(host);
}

int fam_append(fam_host *host, const char *path, const void *data, size_t len)
{
    if (too_large(host, "append to ", path, len) != FAM_OK)
        return FAM_FAILED;
    begin_at(host, "append", path);
    put(&host->request, "contents", data, len);
    return ask(host);
}

int fam_ensure_line(fam_host *host, const char *path, const char *line)
{
    begin_at(host, "ensure-line", path);
    put_string(&host->request, "line", line);
    return ask(host);
}

int fam_list(fam_host *host, const char *path, fam_slice *out)
{
    begin_at(host, "list", path);
    return ask_for_names(host, "names", NULL, out);
}

int fam_create_dir(fam_host *host, const char *path, uint32_t mode)
{
    begin_at(host, "create-dir", path);
    put_number(&host->request, "mode", mode);
    return ask(host);
}

int fam_create_dirs(fam_host *host, const char *path)
{
    begin_at(host, "create-dirs", path);
    return ask(host);
}

int fam_symlink(fam_host *host, const char *target, const char *path)
{
    begin_at(host, "symlink", path);
    put(&host->request, "target", target, strlen(target));
    return ask(host);
}

int fam_remove(fam_host *host, const char *path)
{
    begin_at(host, "remove", path);
    return ask(host);
}

int fam_set_mode(fam_host *host, const char *path, uint32_t mode)
{
    begin_at(host, "set-mode", path);
    put_number(&host->request, "mode", mode);
    return ask(host);
}

int fam_set_owner(fam_host *host, const char *path, uint32_t uid, uint32_t gid, int follow)
{
    begin_at(host, "set-owner", path);
    put_number(&host->request, "uid", uid);
    put_number(&host->request, "gid", gid);
    put_raw(&host->request, "follow", follow ? "true" : "false");
    return ask(host);
}

int fam_xattrs(fam_host *host, const char *path, fam_slice *out)
{
    begin_at(host, "xattrs", path);
    return ask_for_names(host, "xattrs", NULL, out);
}

int fam_xattr(fam_host *host, const char *path, const char *name, fam_slice *out)
{
    int code;

    begin_at(host, "xattrs", path);
    code = ask_for_names(host, "xattrs", name, out);
    return code == FAM_NOT_FOUND ? wrong(host, code, "there is no such attribute of ", path, "") : code;
}

int fam_set_xattr(fam_host *host, const char *path, const char *name, const void *value, size_t len)
{
    if (too_large(host, "set attribute of ", path, len) != FAM_OK)
        return FAM_FAILED;
    begin_at(host, "set-xattr", path);
    put(&host->request, "name", name, strlen(name));
    put(&host->request, "value", value, len);
    return ask(host);
}

static int run(fam_host *host, const char *const arguments[], const char *const environment[], int network, int *status,
               fam_slice *output)
{
    struct piece value;
    const char *sign;
    uint64_t number_of;
    size_t i, given = 0;
    int code, negative;

    if (arguments == NULL || arguments[0] == NULL)
        return wrong(host, FAM_FAILED, "", "", "run: there is no program");
    begin(&host->request, "run");
    put_string(&host->request, "program", arguments[0]);
    put_raw(&host->request, "args", "[");
    for (i = 1; arguments[i] != NULL; i++) {
        add_string(&host->request, i > 1 ? "," : "");
        put_text(&host->request, arguments[i], strlen(arguments[i]));
    }
    add_string(&host->request, "]");
    put_raw(&host->request, "env", "{");
    for (i = 0; environment != NULL && environment[i] != NULL; i++) {
        sign = strchr(environment[i], '=');
        if (sign == NULL)
            continue;
        add_string(&host->request, given++ > 0 ? "," : "");
        put_text(&host->request, environment[i], (size_t)(sign - environment[i]));
        add_string(&host->request, ":");
        put_text(&host->request, sign + 1, strlen(sign + 1));
    }
    add_string(&host->request, "}");
    if (network)
        put_raw(&host->request, "network", "true");
    code = ask_for(host, "output", output);
    if (code != FAM_OK)
        return code;
    if (!member(host->reply, "status", &value))
        return broken(host);
    negative = *value.at == '-';
    value.at += negative;
    if (!number(value, INT32_MAX, &number_of))
        return broken(host);
    *status = negative ? -(int)number_of : (int)number_of;
    return FAM_OK;
}

int fam_run(fam_host *host, const char *const arguments[], const char *const environment[], int *status, fam_slice *output)
{
    return run(host, arguments, environment, 0, status, output);
}

int fam_run_with_network(fam_host *host, const char *const arguments[], const char *const environment[], int *status,
                         fam_slice *output)
{
    return run(host, arguments, environment, 1, status, output);
}

int fam_add_user(fam_host *host, const char *json)
{
    int code = put_members(host, "add-user", json);

    return code == FAM_OK ? ask(host) : code;
}

int fam_add_group(fam_host *host, const char *json)
{
    int code = put_members(host, "add-group", json);

    return code == FAM_OK ? ask(host) : code;
}

/* --- The call ---------------------------------------------------------------------------------------------------------- */

/* Does what is asked for. A call by another version of the protocol is refused first, whatever else it has. */
static int obey(fam_host *host, const fam_plugin *plugin)
{
    struct piece value;
    fam_function function;
    uint64_t version;
    char message[160];
    int code;

    if (!member(host->call, "protocol", &value) || !number(value, UINT32_MAX, &version))
        return fail(host, "load", NULL, "cannot read what it is asked for", REBUILD);
    if (version != VERSION) {
        snprintf(message, sizeof message, "speaks version %d of the plugins' protocol, and this program version %lu", VERSION,
                 (unsigned long)version);
        return fail(host, "load", NULL, message, REBUILD);
    }
    if (!member(host->call, "call", &value))
        return fail(host, "load", NULL, "cannot read what it is asked for", REBUILD);
    if (says(value, "describe")) {
        code = put_members(host, "describe", plugin->description);
        return code == FAM_OK ? ask(host) : code;
    }
    if (says(value, "check"))
        function = plugin->check;
    else if (says(value, "apply-system"))
        function = plugin->apply_system;
    else if (says(value, "apply-node"))
        function = plugin->apply_node;
    else if (says(value, "ssh-keys"))
        function = plugin->ssh_keys;
    else
        return fail(host, "load", NULL, "does not know what it is asked for", REBUILD);
    return function == NULL ? FAM_OK : function(host);
}

static void forget(fam_host *host)
{
    struct text *texts[] = { &host->input, &host->first, &host->request, &host->result, &host->error, &host->failure };
    struct kept *kept;
    size_t i;

    while ((kept = host->kept) != NULL) {
        host->kept = kept->next;
        free(kept->text.data);
        free(kept);
    }
    for (i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]->data);
}

static int serve(int in, int out, const fam_plugin *plugin)
{
    fam_host host;
    char message[64];
    int code, said;

    memset(&host, 0, sizeof host);
    host.in = in;
    host.out = out;
    if (!read_line(&host, &host.call)) {
        forget(&host);
        return 1;
    }
    add(&host.first, host.call.at, (size_t)(host.call.end - host.call.at));
    if (!whole(host.first.data == NULL ? "" : host.first.data, host.first.len, &host.call)) {
        forget(&host);
        return 1;
    }
    code = obey(&host, plugin);
    snprintf(message, sizeof message, "it gave up without a word (status %d)", code);
    if (code == FAM_OK && host.failure.len == 0)
        begin(&host.failure, "done");
    else if (host.failure.len == 0)
        fail(&host, "other", NULL, host.error.len > 0 ? fam_error(&host) : message, NULL);
    /* After the last message this process may be ended before it comes to that by itself. */
    fflush(NULL);
    said = write_line(&host, &host.failure);
    forget(&host);
    return said ? 0 : 1;
}

int fam_serve(int descriptor, const fam_plugin *plugin)
{
    int status = serve(descriptor, descriptor, plugin);

    close(descriptor);
    return status;
}

int fam_main(const fam_plugin *plugin)
{
    int in = fcntl(0, F_DUPFD_CLOEXEC, 3), out = fcntl(1, F_DUPFD_CLOEXEC, 3), null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (in < 0 || out < 0 || null < 0 || dup2(null, 0) < 0 || dup2(2, 1) < 0)
        return 1;
    return serve(in, out, plugin);
}
