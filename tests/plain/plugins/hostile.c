/* Does what the setting `do` says, at the node stage. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fam_plugin.h"

static int32_t describe(const fam_host *host)
{
    return host->describe(host, fam_str("{\"name\":\"hostile\",\"summary\":\"does harm\",\"stages\":[\"node\",\"system\"]}"));
}

static int32_t nothing(const fam_host *host)
{
    (void)host;
    return FAM_OK;
}

static int32_t give_up(const fam_host *host)
{
    static char words[4096];
    fam_slice error;

    host->last_error(host, &error);
    memcpy(words, error.data, error.len);
    host->fail(host, FAM_FAIL_OTHER, fam_str(""), fam_bytes(words, error.len), fam_str(""));
    return FAM_FAILED;
}

static int32_t apply(const fam_host *host)
{
    fam_slice what;
    char act[64] = "";

    host->lookup(host, FAM_SETTINGS, fam_str("/do"), &what);
    memcpy(act, what.data, what.len < sizeof act - 1 ? what.len : sizeof act - 1);
    if (strcmp(act, "abort") == 0)
        abort();
    if (strcmp(act, "exit") == 0)
        exit(0);
    if (strcmp(act, "null") == 0)
        return *(volatile int32_t *)NULL;
    if (strcmp(act, "loop") == 0)
        for (;;)
            ;
    if (strcmp(act, "print") == 0)
        puts("this is no message"); /* on standard output, which is not the protocol's */
    if (strcmp(act, "silent") == 0)
        return FAM_FAILED;
    if (strcmp(act, "huge") == 0) {
        /* Nothing of the 10 GB needs to be there. */
        if (host->write(host, fam_str("/huge"), fam_bytes(describe, (size_t)10 << 30), NULL) != FAM_OK)
            return give_up(host);
    }
    if (strcmp(act, "many") == 0) {
        static char block[16 << 20];
        char path[32];
        int i;

        for (i = 0; i < 640; i++) {
            snprintf(path, sizeof path, "/many%d", i);
            if (host->write(host, fam_str(path), fam_bytes(block, sizeof block), NULL) != FAM_OK)
                return give_up(host);
        }
    }
    if (strcmp(act, "run") == 0) {
        fam_slice arguments[2];
        int32_t status;

        arguments[0] = fam_str("sleep");
        arguments[1] = fam_str("1000");
        if (host->run(host, arguments, 2, NULL, 0, &status, &what) != FAM_OK)
            return give_up(host);
    }
    return FAM_OK;
}

#ifdef TABLE
/* A table that is wrong in one way or another. */
FAM_PLUGIN_VISIBLE const fam_plugin FAM_PLUGIN = TABLE;
#elif defined(NO_TABLE)
int32_t (*const not_a_table[])(const fam_host *) = { describe, nothing, apply };
#else
FAM_PLUGIN_EXPORT(describe, nothing, apply, apply);
#endif
