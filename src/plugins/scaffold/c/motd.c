/* @NAME@: greets at login. */
#include <stdio.h>

#include "fam_plugin.h"

/* Says what went wrong in the last call of the host, and gives up. */
static int32_t give_up(const fam_host *host)
{
    fam_slice error;
    char message[512];

    host->last_error(host, &error);
    snprintf(message, sizeof message, "%.*s", (int)error.len, (const char *)error.data);
    host->fail(host, FAM_FAIL_OTHER, fam_str(""), fam_str(message), fam_str(""));
    return FAM_FAILED;
}

static int32_t describe(const fam_host *host)
{
    return host->describe(host, fam_str("{ \"name\": \"@NAME@\", \"summary\": \"greets at login\","
                                        " \"version\": \"0.1.0\", \"stages\": [\"system\", \"node\"] }"));
}

/* Settings are checked before anything is fetched. */
static int32_t check(const fam_host *host)
{
    fam_slice text;

    if (host->lookup(host, FAM_SETTINGS, fam_str("/text"), &text) == FAM_OK && text.len > 0)
        return FAM_OK;
    host->fail(host, FAM_FAIL_SETTING, fam_str("text"), fam_str("is missing"), fam_str("say what to greet with"));
    return FAM_FAILED;
}

/* Once, for the system that all nodes share. */
static int32_t apply_system(const fam_host *host)
{
    fam_slice text;
    char line[512];
    int length;

    host->lookup(host, FAM_SETTINGS, fam_str("/text"), &text);
    length = snprintf(line, sizeof line, "%.*s\n", (int)text.len, (const char *)text.data);
    if (length >= (int)sizeof line)
        length = (int)sizeof line - 1;
    if (host->write(host, fam_str("/etc/motd"), fam_bytes(line, (size_t)length), NULL) != FAM_OK)
        return give_up(host);
    return FAM_OK;
}

/* Once for each node: what it alone gets. */
static int32_t apply_node(const fam_host *host)
{
    fam_slice name;
    char line[128];

    host->lookup(host, FAM_NODE, fam_str("/name"), &name);
    snprintf(line, sizeof line, "This is %.*s.\n", (int)name.len, (const char *)name.data);
    if (host->append(host, fam_str("/etc/motd"), fam_str(line)) != FAM_OK)
        return give_up(host);
    return FAM_OK;
}

FAM_PLUGIN_EXPORT(describe, check, apply_system, apply_node);
