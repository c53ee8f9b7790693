/* The client for plugins in C, as one program: alone it answers calls over standard input and output, and copies what it is
 * shown; with a number and a file it is its own host, one that gives that many damaged answers, made of the lines of the file. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fam_json.h"
#include "fam_plugin.h"

static volatile size_t seen; /* so that every byte is looked at */

static void look_at(fam_slice slice)
{
    size_t i;

    for (i = 0; i < slice.len; i++)
        seen += (unsigned char)slice.data[i];
    assert(slice.data[slice.len] == '\0');
}

/* Copies each file of the root, with its attributes, to a name with `copy-` before it. */
static int copy(fam_host *host)
{
    static char names[1 << 16];
    char path[600], target[600];
    const char *name, *attribute;
    fam_slice slice, attributes;
    fam_metadata metadata;
    fam_attributes given = { FAM_WITH_MODE | FAM_WITH_OWNER, 0, 0, 0 };
    size_t names_len;
    int code;

    if ((code = fam_list(host, "/", &slice)) != FAM_OK)
        return code;
    assert(slice.len <= sizeof names);
    memcpy(names, slice.data, slice.len);
    names_len = slice.len;
    for (name = names; name < names + names_len; name += strlen(name) + 1) {
        static char attribute_names[4096];

        snprintf(path, sizeof path, "/%.500s", name);
        snprintf(target, sizeof target, "/copy-%.500s", name);
        if ((code = fam_stat(host, path, 0, &metadata, &slice)) != FAM_OK)
            return code;
        given.mode = metadata.mode;
        given.uid = metadata.uid;
        given.gid = metadata.gid;
        if (metadata.file_type == FAM_SYMLINK) {
            if ((code = fam_symlink(host, slice.data, target)) != FAM_OK)
                return code;
            continue;
        }
        if ((code = fam_read(host, path, &slice)) != FAM_OK ||
            (code = fam_write(host, target, slice.data, slice.len, &given)) != FAM_OK ||
            (code = fam_xattrs(host, path, &attributes)) != FAM_OK)
            return code;
        assert(attributes.len < sizeof attribute_names);
        memcpy(attribute_names, attributes.data, attributes.len);
        for (attribute = attribute_names; attribute < attribute_names + attributes.len; attribute += strlen(attribute) + 1)
            if ((code = fam_xattr(host, path, attribute, &slice)) != FAM_OK ||
                (code = fam_set_xattr(host, target, attribute, slice.data, slice.len)) != FAM_OK)
                return code;
    }
    return FAM_OK;
}

/* Gives back what the host says of itself. */
static int tell(fam_host *host)
{
    static const char *const pointers[] = { "", "/a", "/a~1b/1/~0", "/list/10", "/none", "/list/x", "/list/", "/a/b" };
    static const char *const arguments[] = { "printf", "%s\n", "\xff\xc3\xa4\"", NULL };
    static const char *const environment[] = { "A=1=2", "no sign", "B=\n", NULL };
    static const fam_attributes given = { FAM_WITH_MODE | FAM_WITH_OWNER, 0640, 7, 4000000000u };
    uint8_t secret[32];
    char line[80];
    fam_slice slice;
    size_t i;
    int status;

    for (i = 0; i < sizeof pointers / sizeof pointers[0]; i++) {
        if (fam_lookup(host, FAM_SETTINGS, pointers[i], &slice) == FAM_OK)
            fam_log(host, 0, slice.data);
        else
            fam_log(host, 1, fam_error(host));
    }
    if (fam_secret(host, 7, "client/label", secret) == FAM_OK) {
        snprintf(line, sizeof line, "%02x%02x", secret[0], secret[31]);
        fam_log(host, 0, line);
    }
    if (fam_run(host, arguments, environment, &status, &slice) == FAM_OK) {
        snprintf(line, sizeof line, "status %d: %.40s", status, slice.data);
        fam_log(host, 0, line);
    }
    if (fam_run_with_network(host, arguments, NULL, &status, NULL) != FAM_OK)
        fam_log(host, 1, fam_error(host));
    if (fam_copy(host, "c0ffee", 6000000000u, "/a\n", &given) == FAM_OK && fam_copy(host, "0", 0, "/b", NULL) != FAM_OK)
        fam_log(host, 0, fam_error(host));
    if (fam_add_user(host, "{ \"name\":\n\"ann\" }") == FAM_OK && fam_add_user(host, "[]") == FAM_FAILED)
        fam_log(host, 0, fam_error(host));
    return fam_resolve(host, "/no/such", 0, &slice);
}

/* Asks for everything, whatever comes of it. */
static int everything(fam_host *host)
{
    static const char *const arguments[] = { "true", NULL };
    static const char *const pointers[] = { "", "/a", "/a/0", "/a/b", "/name", "/nodes/0/name" };
    uint8_t secret[32];
    fam_slice slice, target;
    fam_metadata metadata;
    size_t i;
    int status, document;

    for (document = FAM_SETTINGS; document <= FAM_NODE + 1; document++)
        for (i = 0; i < sizeof pointers / sizeof pointers[0]; i++)
            if (fam_lookup(host, document, pointers[i], &slice) == FAM_OK)
                look_at(slice);
    for (i = 0; i < 3; i++) {
        if (fam_read(host, "/a", &slice) == FAM_OK)
            look_at(slice);
        if (fam_list(host, "/a", &slice) == FAM_OK)
            look_at(slice);
        if (fam_xattrs(host, "/a", &slice) == FAM_OK)
            look_at(slice);
        if (fam_xattr(host, "/a", "user.a", &slice) == FAM_OK)
            look_at(slice);
        if (fam_stat(host, "/a", 1, &metadata, &target) == FAM_OK)
            look_at(target);
        if (fam_secret(host, FAM_OWN, "x", secret) == FAM_OK)
            seen += secret[31];
        if (fam_run(host, arguments, NULL, &status, &slice) == FAM_OK)
            look_at(slice);
        if (fam_resolve(host, "/a", 1, &slice) == FAM_OK)
            look_at(slice);
        fam_log(host, 1, fam_error(host));
    }
    return FAM_OK;
}

static const fam_plugin plugin = {
    .description = "{\"name\":\"client\",\"summary\":\"copies what it is shown\",\"stages\":[\"system\",\"node\"]}",
    .check = everything,
    .apply_system = tell,
    .apply_node = copy,
};

static char lines[64][4096];
static size_t count;

/* A line of the file, damaged in up to four places. */
static size_t damaged(char *out)
{
    static const char *const bits[] = { "\"", "\\", "{", "}", "[", "]", ",", ":", "\\u", "\\ud800", "\\udc00", "\n", "1", "-", "99999999999999999999", "null", "=", "\"base64\"", "\xff" };
    size_t len, at, times = (size_t)rand() % 5, more;
    const char *bit;

    strcpy(out, lines[(size_t)rand() % count]);
    while (times-- > 0) {
        len = strlen(out);
        at = len == 0 ? 0 : (size_t)rand() % len;
        switch (rand() % 4) {
        case 0: out[at] = (char)(rand() % 256); break;
        case 1: memmove(out + at, out + at + (at < len), len - at + (at >= len)); break;
        case 2: out[at] = '\0'; break;
        default:
            bit = bits[(size_t)rand() % (sizeof bits / sizeof bits[0])];
            more = strlen(bit);
            memmove(out + at + more, out + at, len - at + 1);
            memcpy(out + at, bit, more);
        }
    }
    strcat(out, "\n");
    return strlen(out);
}

/* Looks at all that is in a value. */
static void walk(struct piece value)
{
    struct piece key = { NULL, NULL }, inner;
    struct text text = { NULL, 0, 0, 0 };
    const char *at = NULL;
    uint64_t found;

    clear(&text);
    seen += (size_t)decode(value, &text) + (size_t)decode_bytes(value, &text) + (size_t)number(value, UINT32_MAX, &found);
    seen += (size_t)says(value, "text");
    put_bytes(&text, value.at, (size_t)(value.end - value.at));
    while ((*value.at == '{' || *value.at == '[') && step(value, &at, &key, &inner)) {
        if (*value.at == '{')
            walk(key);
        walk(inner);
    }
    free(text.data);
}

/* Reads a line where nothing lies behind its last byte. */
static void read_alone(const char *line, size_t len)
{
    char *alone = malloc(len + (len == 0));
    struct text text = { NULL, 0, 0, 0 };
    struct piece value;

    assert(alone != NULL);
    memcpy(alone, line, len);
    clear(&text);
    put_bytes(&text, alone, len);
    free(text.data);
    if (whole(alone, len, &value))
        walk(value);
    free(alone);
}

int main(int argc, char **argv)
{
    static char out[1 << 14];
    char *deep;
    long rounds, i, answer;
    FILE *file;

    if (argc != 3)
        return fam_main(&plugin);
    file = fopen(argv[2], "r");
    assert(file != NULL);
    for (; count < 64 && fgets(lines[count], sizeof lines[count], file) != NULL; count++)
        lines[count][strcspn(lines[count], "\n")] = '\0';
    fclose(file);
    srand(1);
    deep = malloc(8 << 20);
    assert(deep != NULL);
    memset(deep, '[', 8 << 20);
    read_alone(deep, 8 << 20);
    free(deep);
    rounds = atol(argv[1]);
    for (i = 0; i < rounds; i++) {
        int ends[2];
        size_t len;

        assert(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        /* The first line is the call, which gets through more often than not. */
        if (i % 4 == 0)
            len = damaged(out);
        else
            len = (size_t)sprintf(out, "%s\n", lines[0]);
        assert(write(ends[0], out, len) == (ssize_t)len);
        for (answer = 0; answer < 30; answer++) {
            len = damaged(out);
            read_alone(out, len - (size_t)(answer % 2));
            assert(write(ends[0], out, len) == (ssize_t)len);
        }
        shutdown(ends[0], SHUT_WR);
        fam_serve(ends[1], &plugin);
        close(ends[0]);
    }
    printf("%ld calls, %lu bytes seen\n", rounds, (unsigned long)seen);
    return 0;
}
