/* The data disk: writable, mounted at /data, given up whole when the machine is powered down. */
#include "http.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define FOLDER "/data"
#define LINE_LIMIT 4096
#define WAIT_MS 5
/* Whoever has it frozen may die before it says that it goes on. */
#define FROZEN_MS 10000

#ifndef EXT4_IOC_RESIZE_FS
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)
#endif

static char disk[32];
static int folder = -1, file = -1;
static long lines;
static bool failed;
static int64_t thaw_at = NEVER;

/* What the machine calls the disk: SCSI says it in a page of its own, virtio-blk in a file. */
static bool read_serial(const char *device, char *serial, size_t size)
{
    char path[80];
    snprintf(path, sizeof path, "/sys/block/%s/serial", device);
    if (read_text(AT_FDCWD, path, serial, size) > 0)
        return true;
    snprintf(path, sizeof path, "/sys/block/%s/device/vpd_pg80", device);
    int page = open(path, O_RDONLY | O_CLOEXEC);
    if (page < 0)
        return false;
    unsigned char bytes[4 + 64];
    ssize_t length = read(page, bytes, sizeof bytes);
    close(page);
    if (length < 4 || (size_t)(length - 4) >= size)
        return false;
    memcpy(serial, bytes + 4, (size_t)(length - 4));
    serial[length - 4] = '\0';
    return true;
}

/* `journal` in `journal,more` */
static bool is_named(const char *serial)
{
    size_t length = strcspn(options.data, ",");
    return length > 0 && strlen(serial) == length && !strncmp(serial, options.data, length);
}

static bool grow(void);

static bool count_lines(void)
{
    char text[8192], last = '\n';
    off_t at = 0;
    ssize_t got;
    for (lines = 0; (got = pread(file, text, sizeof text, at)) > 0; at += got)
        for (ssize_t i = 0; i < got; i++)
            lines += (last = text[i]) == '\n';
    /* What was cut off by a loss of power was never acknowledged. */
    while (got == 0 && last != '\n' && at > 0 && pread(file, &last, 1, at - 1) == 1 && last != '\n')
        at--;
    return got == 0 && ftruncate(file, at) == 0;
}

bool data_takes(const char *device)
{
    char serial[65] = "";
    if (!*options.data || *disk || !read_serial(device, serial, sizeof serial) || !is_named(serial))
        return false;
    snprintf(disk, sizeof disk, "%s", device);
    char path[48];
    snprintf(path, sizeof path, "/dev/%s", device);
    mkdir(FOLDER, 0755);
    if (mount(path, FOLDER, "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, "") < 0) {
        say("%s: the data disk %s does not mount: %s", device, serial, strerror(errno));
        failed = true;
        return true;
    }
    folder = open(FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    file = open(FOLDER "/log", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0 || fsync(folder) < 0 || !count_lines()) {
        say("%s: %s/log: %s", device, FOLDER, strerror(errno));
        failed = true;
    } else
        say("data %s at %s from %s, %ld lines", serial, FOLDER, device, lines);
    /* It may have grown while nobody had it. */
    if (!failed)
        grow();
    return true;
}

bool data_ready(void)
{
    return !*options.data || (file >= 0 && !failed);
}

void data_close(void)
{
    if (folder < 0)
        return;
    if (thaw_at != NEVER)
        ioctl(folder, FITHAW, 0);
    close(file);
    close(folder);
    file = folder = -1;
    sync();
    if (umount(FOLDER) < 0)
        say("%s stays mounted: %s", FOLDER, strerror(errno));
    else
        say("data unmounted");
}

int64_t data_deadline(void)
{
    return thaw_at;
}

void data_tick(void)
{
    if (now_ms() < thaw_at)
        return;
    say("data was frozen for %d ms: it goes on", FROZEN_MS);
    ioctl(folder, FITHAW, 0);
    thaw_at = NEVER;
}

/* Whoever writes to a frozen file system sleeps, and could not hear that it goes on. */
static void answer_later(struct client *client)
{
    client->phase = DELAYED;
    client->answer_at = now_ms() + WAIT_MS;
}

static bool append(const char *body, size_t length)
{
    char line[LINE_LIMIT + 32];
    int size = snprintf(line, sizeof line, "%ld %.*s\n", lines + 1, (int)length, body ? body : "");
    if (write(file, line, (size_t)size) != size || fdatasync(file) < 0)
        return false;
    lines++;
    return true;
}

static void answer_append(struct client *client)
{
    size_t length = client->body ? client->body_length : 0;
    if (thaw_at != NEVER)
        answer_later(client);
    else if (length > LINE_LIMIT || (length && memchr(client->body, '\n', length)))
        respond_text(client, 400, "one line, please");
    else if (!append(client->body, length)) {
        say("append: %s", strerror(errno));
        /* What of the line is on the disk nobody knows: no number is given twice. */
        failed = true;
        respond_text(client, 500, "not written");
    } else {
        char number[24];
        snprintf(number, sizeof number, "%ld", lines);
        respond_text(client, 200, number);
    }
}

static void answer_log(struct client *client)
{
    struct stat told;
    char *text = fstat(file, &told) < 0 ? NULL : malloc((size_t)told.st_size + 1);
    ssize_t got = text ? pread(file, text, (size_t)told.st_size, 0) : -1;
    if (got < 0) {
        free(text);
        respond_text(client, 500, "not read");
    } else
        respond(client, 200, "text/plain; charset=utf-8", text, (size_t)got);
}

static void answer_size(struct client *client)
{
    struct statfs told = {0};
    char text[32];
    fstatfs(folder, &told);
    snprintf(text, sizeof text, "%lld", (long long)told.f_blocks * told.f_bsize);
    respond_text(client, 200, text);
}

static void answer_freeze(struct client *client, bool freeze)
{
    if (freeze && thaw_at == NEVER && ioctl(folder, FIFREEZE, 0) < 0) {
        respond_text(client, 500, strerror(errno));
        return;
    }
    if (!freeze && thaw_at != NEVER)
        ioctl(folder, FITHAW, 0);
    thaw_at = freeze ? now_ms() + FROZEN_MS : NEVER;
    respond_text(client, 200, freeze ? "frozen" : "thawed");
}

/* The kernel learns of a grown SCSI disk when it is told to look. */
static bool grow(void)
{
    char path[80];
    snprintf(path, sizeof path, "/sys/block/%s/device/rescan", disk);
    write_text(path, "1");
    snprintf(path, sizeof path, "/dev/%s", disk);
    int device = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t bytes = 0, blocks;
    struct statfs told;
    bool known = device >= 0 && ioctl(device, BLKGETSIZE64, &bytes) == 0 && fstatfs(folder, &told) == 0;
    if (device >= 0)
        close(device);
    if (!known)
        return false;
    blocks = bytes / (uint64_t)told.f_bsize;
    return ioctl(folder, EXT4_IOC_RESIZE_FS, &blocks) == 0;
}

bool answer_data(struct client *client)
{
    static const char prefix[] = "/data/";
    if (strncmp(client->path, prefix, sizeof prefix - 1) || !*options.data)
        return false;
    const char *what = client->path + sizeof prefix - 1;
    bool post = !strcmp(client->method, "POST");
    if (!data_ready())
        respond_text(client, 503, "no data");
    else if (post && !strcmp(what, "append"))
        answer_append(client);
    else if (post && !strcmp(what, "freeze"))
        answer_freeze(client, true);
    else if (post && !strcmp(what, "thaw"))
        answer_freeze(client, false);
    else if (post && !strcmp(what, "grow")) {
        if (thaw_at != NEVER)
            answer_later(client);
        else if (grow())
            answer_size(client);
        else
            respond_text(client, 500, strerror(errno));
    } else if (!post && !strcmp(what, "log"))
        answer_log(client);
    else if (!post && !strcmp(what, "size"))
        answer_size(client);
    else
        respond_text(client, 404, "not found");
    return true;
}
