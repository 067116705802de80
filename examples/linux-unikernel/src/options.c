#include "guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options options = {
    .port = 80,
    .address = "10.0.2.15",
    .prefix = 24,
    .gateway = "10.0.2.2",
    .health = "/health",
    .wait_volume = true,
};

static void take(const char *name, const char *value);

void options_read(void)
{
    if (access("/app", X_OK) == 0)
        options.mode = MODE_APP;
    /* Unpacked before php itself: with too little memory the rest of the initrd is missing. */
    else if (access("/etc/php.ini", R_OK) == 0)
        options.mode = MODE_PHP;

    char line[4096];
    if (read_text(AT_FDCWD, "/proc/cmdline", line, sizeof line) < 0)
        return;
    char *rest = line;
    for (char *word; (word = strsep(&rest, " ")) != NULL;) {
        char *value = strchr(word, '=');
        if (!value)
            continue;
        *value++ = '\0';
        take(word, value);
    }
}

static void copy(char *to, size_t size, const char *value)
{
    snprintf(to, size, "%s", value);
}

static void take(const char *name, const char *value)
{
    if (!strcmp(name, "ud.port"))
        options.port = atoi(value);
    else if (!strcmp(name, "ud.ip")) {
        const char *slash = strchr(value, '/');
        snprintf(options.address, sizeof options.address, "%.*s", slash ? (int)(slash - value) : 31, value);
        options.prefix = slash ? atoi(slash + 1) : 24;
    } else if (!strcmp(name, "ud.gw"))
        copy(options.gateway, sizeof options.gateway, value);
    else if (!strcmp(name, "ud.health"))
        copy(options.health, sizeof options.health, value);
    else if (!strcmp(name, "ud.root"))
        copy(options.root, sizeof options.root, value);
    else if (!strcmp(name, "ud.fault"))
        copy(options.faults, sizeof options.faults, value);
    else if (!strcmp(name, "ud.wait-volume"))
        options.wait_volume = atoi(value);
    else if (!strcmp(name, "ud.control"))
        options.control = atoi(value);
    else if (!strcmp(name, "ud.mount"))
        options.single = !strcmp(value, "single");
    else if (!strcmp(name, "unideploy.data"))
        copy(options.data, sizeof options.data, value);
    else if (!strcmp(name, "unideploy.revision"))
        copy(options.revision, sizeof options.revision, value);
}
