/* @NAME@: greets at login. */
#include <stdio.h>

#include "fam_plugin.h"

/* Settings are checked before anything is fetched. */
static int check(fam_host *host)
{
    fam_slice text;

    if (fam_lookup(host, FAM_SETTINGS, "/text", &text) == FAM_OK && text.len > 0)
        return FAM_OK;
    return fam_fail_setting(host, "text", "is missing", "say what to greet with");
}

/* Once, for the system that all nodes share. */
static int apply_system(fam_host *host)
{
    fam_slice text;
    char line[512];
    int length;

    fam_lookup(host, FAM_SETTINGS, "/text", &text);
    length = snprintf(line, sizeof line, "%s\n", text.data);
    if (length >= (int)sizeof line)
        return fam_fail_setting(host, "text", "is too long", NULL);
    return fam_write(host, "/etc/motd", line, (size_t)length, NULL);
}

/* Once for each node: what it alone gets. */
static int apply_node(fam_host *host)
{
    fam_slice name;
    char line[128];

    fam_lookup(host, FAM_NODE, "/name", &name);
    snprintf(line, sizeof line, "This is %s.", name.data);
    return fam_ensure_line(host, "/etc/motd", line);
}

static const fam_plugin plugin = {
    .description = "{ \"name\": \"@NAME@\", \"summary\": \"greets at login\", \"version\": \"0.1.0\","
                   " \"stages\": [\"system\", \"node\"] }",
    .check = check,
    .apply_system = apply_system,
    .apply_node = apply_node,
};
FAM_PLUGIN_EXPORT(plugin);
