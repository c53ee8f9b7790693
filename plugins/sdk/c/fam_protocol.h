/* fam_protocol.h: requests to fam-build and its answers, line by line. fam_plugin.c alone includes this.
 */
#ifndef FAM_PROTOCOL_H
#define FAM_PROTOCOL_H

#include <errno.h>
#include <unistd.h>

#include "fam_json.h"
#include "fam_plugin.h"

#define MAX_CONTENTS (((size_t)64 << 20) / 4 * 3 - 8192) /* encoded, they fit into the longest line that is taken */

struct kept {
    struct kept *next;
    struct text text;
};

struct fam_host {
    int in, out;
    struct text input; /* the line that was read, and what came behind it */
    size_t next;       /* where that begins */
    struct text first; /* the first line, in which `call` is */
    struct piece call, reply;
    struct text request, result, error, failure;
    struct kept *kept; /* what fam_lookup gave */
};

/* --- Lines ------------------------------------------------------------------------------------------------------------- */

/* Reads a line, which is one value; 0 where there is none. */
static int read_line(fam_host *host, struct piece *out)
{
    struct text *input = &host->input;
    size_t searched = 0;
    const char *newline;
    ssize_t count;

    input->len -= host->next;
    if (input->len > 0)
        memmove(input->data, input->data + host->next, input->len);
    host->next = 0;
    for (;;) {
        newline = input->len > searched ? memchr(input->data + searched, '\n', input->len - searched) : NULL;
        if (newline != NULL) {
            host->next = (size_t)(newline - input->data) + 1;
            return whole(input->data, host->next - 1, out);
        }
        searched = input->len;
        if (!reserve(input, 1 << 16))
            return 0;
        do
            count = read(host->in, input->data + input->len, 1 << 16);
        while (count < 0 && errno == EINTR);
        if (count <= 0)
            return 0;
        input->len += (size_t)count;
    }
}

static int write_line(fam_host *host, struct text *line)
{
    const char *at = line->data;
    size_t left;
    ssize_t count;

    add_string(line, "}\n");
    if (line->broken)
        return 0;
    for (at = line->data, left = line->len; left > 0; at += count, left -= (size_t)count) {
        do
            count = write(host->out, at, left);
        while (count < 0 && errno == EINTR);
        if (count <= 0)
            return 0;
    }
    return 1;
}

/* --- Requests ---------------------------------------------------------------------------------------------------------- */

/* Says why a call failed. */
static int wrong(fam_host *host, int code, const char *operation, const char *path, const char *what)
{
    clear(&host->error);
    add_string(&host->error, operation);
    add_string(&host->error, path);
    add_string(&host->error, what);
    return code;
}

static int broken(fam_host *host)
{
    return wrong(host, FAM_FAILED, "", "", "fam-build's answer cannot be read");
}

static void begin(struct text *request, const char *op)
{
    clear(request);
    add_string(request, "{\"op\":\"");
    add_string(request, op);
    add_string(request, "\"");
}

static void put_key(struct text *request, const char *key)
{
    add_string(request, ",\"");
    add_string(request, key);
    add_string(request, "\":");
}

static void put(struct text *request, const char *key, const void *data, size_t len)
{
    put_key(request, key);
    put_bytes(request, data, len);
}

static void put_string(struct text *request, const char *key, const char *string)
{
    put_key(request, key);
    put_text(request, string, strlen(string));
}

static void put_raw(struct text *request, const char *key, const char *json)
{
    put_key(request, key);
    add_string(request, json);
}

static void put_number(struct text *request, const char *key, uint32_t number)
{
    char digits[16];

    snprintf(digits, sizeof digits, "%lu", (unsigned long)number);
    put_raw(request, key, digits);
}

/* Sends the request that has been begun, and reads the answer. */
static int ask(fam_host *host)
{
    static const struct {
        const char *name;
        int code;
    } problems[] = {
        { "not-found", FAM_NOT_FOUND },   { "already-exists", FAM_ALREADY_EXISTS }, { "not-a-directory", FAM_NOT_A_DIRECTORY },
        { "not-a-file", FAM_NOT_A_FILE }, { "link-loop", FAM_LINK_LOOP },           { "bad-path", FAM_BAD_PATH },
    };
    struct piece value;
    size_t i;

    clear(&host->result);
    if (host->request.broken)
        return wrong(host, FAM_FAILED, "", "", "there is no memory for a request");
    if (!write_line(host, &host->request) || !read_line(host, &host->reply))
        return wrong(host, FAM_FAILED, "", "", "fam-build is gone, or its answer cannot be read");
    if (!member(host->reply, "ok", &value))
        return broken(host);
    if (value.end - value.at == 4 && *value.at == 't')
        return FAM_OK;
    clear(&host->error);
    if (!member(host->reply, "error", &value) || !decode(value, &host->error) || host->error.len == 0)
        wrong(host, 0, "", "", "fam-build does not say why");
    if (member(host->reply, "problem", &value))
        for (i = 0; i < sizeof problems / sizeof problems[0]; i++)
            if (says(value, problems[i].name))
                return problems[i].code;
    return FAM_FAILED;
}

static fam_slice slice(const struct text *text)
{
    fam_slice slice = { text->data == NULL ? "" : text->data, text->len };

    return slice;
}

static void empty(fam_slice *out)
{
    if (out != NULL) {
        out->data = "";
        out->len = 0;
    }
}

/* Asks, and gives the member of that name of the answer. */
static int ask_for(fam_host *host, const char *name, fam_slice *out)
{
    struct piece value;
    int code = ask(host);

    empty(out);
    if (code != FAM_OK)
        return code;
    if (!member(host->reply, name, &value) || !decode_bytes(value, &host->result))
        return broken(host);
    if (out != NULL)
        *out = slice(&host->result);
    return FAM_OK;
}

/* Asks, and gives all names of a list; of a list of pairs, the first of each. Where `wanted` is one of those, its pair's second
 * instead. */
static int ask_for_names(fam_host *host, const char *name, const char *wanted, fam_slice *out)
{
    struct piece list, key = { NULL, NULL }, entry, value;
    const char *at = NULL, *in;
    size_t begun;
    int code = ask(host);

    empty(out);
    if (code != FAM_OK)
        return code;
    if (!member(host->reply, name, &list) || *list.at != '[')
        return broken(host);
    while (step(list, &at, &key, &entry)) {
        begun = host->result.len;
        in = NULL;
        value = entry;
        if (*entry.at == '[' && !step(entry, &in, &key, &value))
            return broken(host);
        if (!decode_bytes(value, &host->result))
            return broken(host);
        if (wanted == NULL) {
            add(&host->result, "", 1);
            continue;
        }
        if (host->result.len - begun == strlen(wanted) && memcmp(host->result.data + begun, wanted, strlen(wanted)) == 0) {
            clear(&host->result);
            if (in == NULL || !step(entry, &in, &key, &value) || !decode_bytes(value, &host->result))
                return broken(host);
            *out = slice(&host->result);
            return FAM_OK;
        }
    }
    if (wanted != NULL)
        return FAM_NOT_FOUND;
    if (host->result.broken)
        return broken(host);
    *out = slice(&host->result);
    return FAM_OK;
}

static void begin_at(fam_host *host, const char *op, const char *path)
{
    begin(&host->request, op);
    put(&host->request, "path", path, strlen(path));
}

/* Refuses what would not fit into a line, before it is looked at. */
static int too_large(fam_host *host, const char *operation, const char *path, size_t len)
{
    char limit[64];

    if (len <= MAX_CONTENTS)
        return FAM_OK;
    snprintf(limit, sizeof limit, ": larger than the limit of %lu bytes", (unsigned long)MAX_CONTENTS);
    return wrong(host, FAM_FAILED, operation, path, limit);
}

/* Adds the members of an object that the plugin wrote. Newlines in it are between its words, where spaces do as well. */
static int put_members(fam_host *host, const char *op, const char *json)
{
    struct piece object;
    size_t begun;

    begin(&host->request, op);
    if (json == NULL || !whole(json, strlen(json), &object) || *object.at != '{')
        return wrong(host, FAM_FAILED, op, "", ": what the plugin says is no JSON object");
    object.at = space(object.at + 1, object.end);
    object.end--;
    add_string(&host->request, object.at < object.end ? "," : "");
    begun = host->request.len;
    add(&host->request, object.at, (size_t)(object.end - object.at));
    for (; begun < host->request.len; begun++)
        if (host->request.data[begun] == '\n' || host->request.data[begun] == '\r')
            host->request.data[begun] = ' ';
    return FAM_OK;
}

#endif
