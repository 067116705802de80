#include "guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One write a line: lines of PID 1, of the kernel and of a program share the console. */
void say(const char *format, ...)
{
    char line[600] = "unideploy: ";
    size_t used = strlen(line);
    va_list values;
    va_start(values, format);
    int more = vsnprintf(line + used, sizeof line - used - 1, format, values);
    va_end(values);
    used += more < 0 ? 0 : (size_t)more;
    if (used > sizeof line - 2)
        used = sizeof line - 2;
    line[used++] = '\n';
    if (write(STDOUT_FILENO, line, used) < 0)
        return;
}

/* The first line of a file, without blanks at its end; its length, or -1. */
int read_text(int directory, const char *path, char *text, size_t size)
{
    int file = openat(directory, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    ssize_t length = read(file, text, size - 1);
    close(file);
    if (length < 0)
        return -1;
    text[length] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    length = (ssize_t)strlen(text);
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
        text[--length] = '\0';
    return (int)length;
}

void write_text(const char *path, const char *text)
{
    char temporary[128];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        return;
    if (write(file, text, strlen(text)) < 0)
        say("cannot write %s: %s", path, strerror(errno));
    close(file);
    rename(temporary, path);
}

void machine_mounts(void)
{
    mkdir("/dev", 0755);
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/run", 0755);
    mkdir("/tmp", 01777);
    mkdir("/volumes", 0755);
    mount("dev", "/dev", "devtmpfs", MS_NOSUID, NULL);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sys", "/sys", "sysfs", 0, NULL);

    int console = open("/dev/console", O_RDWR | O_NOCTTY);
    if (console >= 0)
        for (int fd = 0; fd < 3; fd++)
            dup2(console, fd);
    if (console > 2)
        close(console);
}

/* The list is in dependency order: the build computed it from the modules' own `depends`. */
void machine_modules(void)
{
    FILE *list = fopen("/lib/modules/order", "re");
    if (!list)
        return;
    char name[128], path[160];
    while (fgets(name, sizeof name, list)) {
        name[strcspn(name, "\n")] = '\0';
        snprintf(path, sizeof path, "/lib/modules/%s", name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || (syscall(SYS_finit_module, file, "", 0) < 0 && errno != EEXIST && errno != ENODEV))
            say("module %s: %s", name, strerror(errno));
        if (file >= 0)
            close(file);
        /* Loaded code is a copy: the file would only hold memory. */
        unlink(path);
    }
    fclose(list);
}

static struct sockaddr address_of(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    inet_pton(AF_INET, text, &in.sin_addr);
    struct sockaddr address;
    memcpy(&address, &in, sizeof address);
    return address;
}

static void set_flags(int control, const char *name, short flags)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    request.ifr_flags = flags;
    ioctl(control, SIOCSIFFLAGS, &request);
}

static void up(int control, const char *name)
{
    set_flags(control, name, IFF_UP | IFF_RUNNING);
}

void machine_network(void)
{
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    up(control, "lo");

    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "eth0");
    request.ifr_addr = address_of(options.address);
    if (ioctl(control, SIOCSIFADDR, &request) < 0)
        say("no network card: %s", strerror(errno));

    uint32_t bits = options.prefix <= 0 ? 0 : htonl(~0u << (32 - options.prefix));
    struct sockaddr_in mask = {.sin_family = AF_INET, .sin_addr.s_addr = bits};
    memcpy(&request.ifr_netmask, &mask, sizeof mask);
    ioctl(control, SIOCSIFNETMASK, &request);
    up(control, "eth0");
    /* Of a new address that the card gets while it is up, when the machine is woken as another one's copy, everybody who knows
     * the old one is to hear at once: their answers would go there. Said here, and not by each copy. */
    int notify = open("/proc/sys/net/ipv4/conf/eth0/arp_notify", O_WRONLY | O_CLOEXEC);
    if (write(notify, "1", 1) < 0)
        say("nobody will be told of another address: %s", strerror(errno));
    close(notify);

    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    route.rt_gateway = address_of(options.gateway);
    route.rt_dst = route.rt_genmask = address_of("0.0.0.0");
    if (ioctl(control, SIOCADDRT, &route) < 0)
        say("no route to %s: %s", options.gateway, strerror(errno));
    close(control);
}

/* PCI hotplug by ACPI is announced by general purpose event 1: a machine that does not hear it never lets go of a device. */
void machine_keep_slots(void)
{
    int event = open("/sys/firmware/acpi/interrupts/gpe01", O_WRONLY | O_CLOEXEC);
    if (event < 0 || write(event, "mask\n", 5) < 0)
        say("cannot keep the slots: %s", strerror(errno));
    close(event);
}

void machine_off(void)
{
    data_close();
    volumes_close();
    sync();
    /* The kernel resets the card on its way out and was seen to spin there for ever while packets still came. */
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    set_flags(control, "eth0", 0);
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}
