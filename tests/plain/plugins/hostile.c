/* Does what the setting `do` says, at the node stage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fam_plugin.h"

static int nothing(fam_host *host)
{
    (void)host;
    return FAM_OK;
}

static int apply(fam_host *host)
{
    fam_slice what;
    const char *act;

    fam_lookup(host, FAM_SETTINGS, "/do", &what);
    act = what.data;
    if (strcmp(act, "abort") == 0)
        abort();
    if (strcmp(act, "exit") == 0)
        exit(0);
    if (strcmp(act, "null") == 0)
        return *(volatile int *)NULL;
    if (strcmp(act, "loop") == 0)
        for (;;)
            ;
    if (strcmp(act, "print") == 0)
        puts("this is no message"); /* on standard output, which is not the protocol's */
    if (strcmp(act, "silent") == 0)
        return FAM_FAILED;
    if (strcmp(act, "garbage") == 0) {
        /* Straight into the socket, which is the descriptor that was given to it. */
        int descriptor;

        for (descriptor = 3; descriptor < 64; descriptor++)
            if (write(descriptor, "this is no message\n", 19) == 19)
                break;
    }
    if (strcmp(act, "huge") == 0)
        /* Nothing of the 10 GB needs to be there. */
        return fam_write(host, "/huge", act, (size_t)10 << 30, NULL);
    if (strcmp(act, "many") == 0) {
        static char block[16 << 20];
        char path[32];
        int i, code;

        for (i = 0; i < 640; i++) {
            snprintf(path, sizeof path, "/many%d", i);
            code = fam_write(host, path, block, sizeof block, NULL);
            if (code != FAM_OK)
                return code;
        }
    }
    if (strcmp(act, "run") == 0) {
        static const char *const arguments[] = { "sleep", "1000", NULL };
        int status;

        return fam_run(host, arguments, NULL, &status, NULL);
    }
    return FAM_OK;
}

static const fam_plugin plugin = {
    .description = "{\"name\":\"hostile\",\"summary\":\"does harm\",\n\"stages\":[\"node\",\"system\"]}",
    .check = nothing,
    .apply_system = apply,
    .apply_node = apply,
};

#if defined(OLD_TABLE)
/* What a plugin exported by the interface that was before this one. */
FAM_PLUGIN_VISIBLE const void *const FAM_PLUGIN[] = { &plugin };
#elif defined(NO_SYMBOL)
const fam_plugin *const not_a_symbol = &plugin;
#elif defined(LEAVES)
/* Takes the descriptor, says nothing, and gives a status. */
int fam_plugin_main(int descriptor)
{
    return close(descriptor) == 0 ? 3 : 4;
}
#else
FAM_PLUGIN_EXPORT(plugin);
#endif
