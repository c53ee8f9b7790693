/* Calls the plugin with a host that has one file, /etc/motd, and one setting, text. */
#include <assert.h>
#include <stdio.h>

#include "fam_plugin.h"

extern const fam_plugin FAM_PLUGIN;

static char motd[1024];
static const char *text;
static char failure[128];

static int32_t lookup(const fam_host *host, int32_t document, fam_slice pointer, fam_slice *out)
{
    (void)host;
    if (document == FAM_SETTINGS && text != NULL && pointer.len == 5 && memcmp(pointer.data, "/text", 5) == 0) {
        *out = fam_str(text);
        return FAM_OK;
    }
    if (document == FAM_NODE && pointer.len == 5 && memcmp(pointer.data, "/name", 5) == 0) {
        *out = fam_str("fabric2");
        return FAM_OK;
    }
    return FAM_NOT_FOUND;
}

static int32_t append(const fam_host *host, fam_slice path, fam_slice contents)
{
    (void)host;
    assert(path.len == 9 && memcmp(path.data, "/etc/motd", 9) == 0);
    assert(strlen(motd) + contents.len < sizeof motd);
    strncat(motd, (const char *)contents.data, contents.len);
    return FAM_OK;
}

static int32_t write_file(const fam_host *host, fam_slice path, fam_slice contents, const fam_attributes *attributes)
{
    (void)attributes;
    motd[0] = '\0';
    return append(host, path, contents);
}

static void fail(const fam_host *host, int32_t kind, fam_slice key, fam_slice message, fam_slice hint)
{
    (void)host;
    (void)hint;
    assert(kind == FAM_FAIL_SETTING);
    snprintf(failure, sizeof failure, "%.*s %.*s", (int)key.len, (const char *)key.data, (int)message.len,
             (const char *)message.data);
}

int main(void)
{
    fam_host host = { 0 };

    host.lookup = lookup;
    host.append = append;
    host.write = write_file;
    host.fail = fail;

    assert(FAM_PLUGIN.check(&host) == FAM_FAILED);
    assert(strcmp(failure, "text is missing") == 0);

    text = "hello";
    assert(FAM_PLUGIN.check(&host) == FAM_OK);
    assert(FAM_PLUGIN.apply_system(&host) == FAM_OK);
    assert(FAM_PLUGIN.apply_node(&host) == FAM_OK);
    assert(strcmp(motd, "hello\nThis is fabric2.\n") == 0);
    puts("ok");
    return 0;
}
