#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct watch kernel;

static void kernel_ready(struct watch *, uint32_t events);

void disks_open(void)
{
    kernel.fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
    kernel.ready = kernel_ready;
    /* The drivers of a boot announce themselves faster than this loop reads. */
    int size = 1 << 20;
    setsockopt(kernel.fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    if (bind(kernel.fd, (struct sockaddr *)&address, sizeof address) < 0)
        say("no kernel events: %s", strerror(errno));
    loop_watch(&kernel, EPOLLIN);
}

/* The kernel reads the partition table before it announces the disk. */
static bool has_partitions(const char *device)
{
    char path[80];
    snprintf(path, sizeof path, "/sys/block/%s", device);
    DIR *folder = opendir(path);
    bool found = false;
    for (struct dirent *entry; folder && !found && (entry = readdir(folder)) != NULL;)
        found = !strncmp(entry->d_name, device, strlen(device));
    if (folder)
        closedir(folder);
    return found;
}

static bool carries_code(const char *device)
{
    bool disk = !strncmp(device, "sd", 2) || !strncmp(device, "vd", 2) || !strncmp(device, "sr", 2);
    return disk && strcmp(device, options.root) && !has_partitions(device);
}

static const char *field(const char *message, size_t length, const char *name)
{
    size_t size = strlen(name);
    for (const char *p = message; p < message + length; p += strlen(p) + 1)
        if (!strncmp(p, name, size) && p[size] == '=')
            return p + size + 1;
    return "";
}

static void kernel_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    char message[4097];
    for (;;) {
        ssize_t length = recv(watch->fd, message, sizeof message - 1, 0);
        if (length < 0 && errno == ENOBUFS) {
            say("kernel events were lost");
            continue;
        }
        if (length <= 0)
            return;
        message[length] = '\0';
        if (strcmp(field(message, length, "SUBSYSTEM"), "block") || strcmp(field(message, length, "DEVTYPE"), "disk"))
            continue;
        const char *action = field(message, length, "ACTION"), *device = field(message, length, "DEVNAME");
        if (!strcmp(action, "add") && carries_code(device) && !data_takes(device))
            volumes_added(device);
        else if (!strcmp(action, "remove"))
            volumes_removed(device);
    }
}

/* By magic, never by trial: each wrong guess would leave an error of the kernel on the console. */
const char *disk_file_system(const char *path)
{
    static const struct {
        const char *name, *magic;
        off_t offset;
    } known[] = {{"squashfs", "hsqs", 0}, {"ext4", "\x53\xef", 0x438}, {"iso9660", "CD001", 0x8001}};

    int disk = open(path, O_RDONLY | O_CLOEXEC);
    const char *found = NULL;
    for (size_t i = 0; disk >= 0 && !found && i < sizeof known / sizeof *known; i++) {
        char bytes[8];
        size_t size = strlen(known[i].magic);
        if (pread(disk, bytes, size, known[i].offset) == (ssize_t)size && !memcmp(bytes, known[i].magic, size))
            found = known[i].name;
    }
    if (disk >= 0)
        close(disk);
    return found;
}
