/* A library that runs escape.py of its own directory, which tries to reach the host, when it is asked to check settings. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fam_plugin.h"

static int check(fam_host *host)
{
    static char said[1 << 16];
    fam_slice given;
    int ends[2];
    size_t length = 0;
    ssize_t count;
    pid_t child;

    fam_lookup(host, FAM_SETTINGS, "/given", &given);
    if (pipe(ends) != 0 || (child = fork()) < 0)
        return FAM_FAILED;
    if (child == 0) {
        dup2(ends[1], 1);
        execl("./escape.py", "escape.py", given.data, NULL);
        _exit(127);
    }
    close(ends[1]);
    while ((count = read(ends[0], said + length, sizeof said - 1 - length)) > 0)
        length += (size_t)count;
    waitpid(child, NULL, 0);
    return fam_fail(host, said);
}

static const fam_plugin plugin = {
    .description = "{\"name\":\"escape\",\"summary\":\"tries to get out\",\"stages\":[\"node\"]}",
    .check = check,
};
FAM_PLUGIN_EXPORT(plugin);
