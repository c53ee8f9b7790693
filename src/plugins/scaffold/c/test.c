/* Calls the plugin, answers everything with "ok", and compares what it asks for. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fam_plugin.h"

static char said[4096];

/* What the plugin says in this call, a line each. */
static const char *asks(const char *call)
{
    int ends[2], i;
    size_t length = 0;
    ssize_t count;

    assert(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    assert(write(ends[0], call, strlen(call)) == (ssize_t)strlen(call) && write(ends[0], "\n", 1) == 1);
    for (i = 0; i < 10; i++)
        assert(write(ends[0], "{\"ok\":true}\n", 12) == 12);
    shutdown(ends[0], SHUT_WR);
    assert(fam_plugin_main(ends[1]) == 0);
    while ((count = read(ends[0], said + length, sizeof said - 1 - length)) > 0)
        length += (size_t)count;
    said[length] = '\0';
    close(ends[0]);
    return said;
}

#define DONE "{\"op\":\"done\"}\n"

int main(void)
{
    assert(strcmp(asks("{\"protocol\":1,\"call\":\"check\",\"settings\":{\"text\":\"hello\"}}"), DONE) == 0);
    assert(strcmp(asks("{\"protocol\":1,\"call\":\"check\",\"settings\":{}}"),
                  "{\"op\":\"fail\",\"kind\":\"setting\",\"key\":\"text\",\"message\":\"is missing\","
                  "\"hint\":\"say what to greet with\"}\n") == 0);
    assert(strcmp(asks("{\"protocol\":1,\"call\":\"apply-system\",\"settings\":{\"text\":\"hello\"}}"),
                  "{\"op\":\"write\",\"path\":\"/etc/motd\",\"contents\":\"hello\\n\"}\n" DONE) == 0);
    assert(strcmp(asks("{\"protocol\":1,\"call\":\"apply-node\",\"node\":{\"name\":\"fabric2\"}}"),
                  "{\"op\":\"ensure-line\",\"path\":\"/etc/motd\",\"line\":\"This is fabric2.\"}\n" DONE) == 0);
    puts("ok");
    return 0;
}
