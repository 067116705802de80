#include "http.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"}, {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"}, {".mjs", "text/javascript; charset=utf-8"},
        {".json", "application/json"}, {".svg", "image/svg+xml"}, {".png", "image/png"},
        {".jpg", "image/jpeg"}, {".ico", "image/x-icon"}, {".woff2", "font/woff2"},
        {".txt", "text/plain; charset=utf-8"}, {".xml", "application/xml"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (!strcasecmp(dot, types[i][0]))
            return types[i][1];
    return "application/octet-stream";
}

/* Beneath the volume by the kernel's own word: neither `..` nor a link leads out of it. */
static int open_beneath(int root, const char *path)
{
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

static void move_to_folder(struct client *client)
{
    char more[440];
    const char *p = client->path;
    /* Only what needs no encoding and cannot be read as another host. */
    if (strlen(p) > 400 || strpbrk(p, "\r\n \"<>%?#\\") || !strncmp(p, "//", 2)) {
        respond_text(client, 404, "not found");
        return;
    }
    snprintf(more, sizeof more, "Location: %.400s/\r\n", p);
    compose_head(client, 301, "text/plain", 0, more);
}

void answer_file(struct client *client)
{
    struct volume *volume = volumes_current();
    if (!volume) {
        respond_text(client, 503, "no volume");
        return;
    }
    if (fault_error_now()) {
        respond_text(client, 500, "fault errors");
        return;
    }
    char path[1040];
    const char *relative = client->path + strspn(client->path, "/");
    bool folder = !*relative || relative[strlen(relative) - 1] == '/';
    snprintf(path, sizeof path, "%s%s", relative, folder ? "index.html" : "");

    struct stat about;
    int file = open_beneath(volume->root, path);
    if (file >= 0 && fstat(file, &about) == 0 && S_ISDIR(about.st_mode)) {
        close(file);
        move_to_folder(client);
        return;
    }
    if (file < 0 || !S_ISREG(about.st_mode)) {
        if (file >= 0)
            close(file);
        respond_text(client, 404, "not found");
        return;
    }
    char more[300];
    snprintf(more, sizeof more, "X-Unideploy-Revision: %s\r\n", volume->revision);
    compose_head(client, 200, type_of(path), (long long)about.st_size, more);
    client->volume = volumes_use();
    client->file = file;
    client->file_at = 0;
    client->file_end = client->head_only ? 0 : about.st_size;
}

/* Leaves in memory what is still to be sent, as far as the budget goes. */
long read_ahead(struct client *client, long budget)
{
    static char piece[1 << 16];
    long done = 0;
    while (client->file_at + done < client->file_end && done < budget) {
        ssize_t length = pread(client->file, piece, sizeof piece, client->file_at + done);
        if (length <= 0)
            break;
        done += length;
    }
    return done;
}
