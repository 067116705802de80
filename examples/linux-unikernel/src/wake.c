#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TEXT_LIMIT 4096

static struct watch listener;

/* The text after "key": in an object without nesting, or NULL; strings without escapes are all that is taken. */
static const char *value_of(const char *json, const char *key)
{
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *found = strstr(json, quoted);
    if (!found)
        return NULL;
    found += strlen(quoted);
    found += strspn(found, " ");
    return *found == '"' ? found + 1 : found;
}

static void mix_in(const char *hex)
{
    struct {
        int bits, size;
        unsigned char bytes[256];
    } entropy = {0};
    for (unsigned byte; entropy.size < (int)sizeof entropy.bytes && sscanf(hex, "%2x", &byte) == 1; hex += 2)
        entropy.bytes[entropy.size++] = (unsigned char)byte;
    entropy.bits = 8 * entropy.size;
    int random = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (ioctl(random, RNDADDENTROPY, &entropy) < 0 || ioctl(random, RNDRESEEDCRNG) < 0)
        say("no new random numbers: %s", strerror(errno));
    close(random);
}

static void set_clock(long long ms)
{
    struct timespec now = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    if (clock_settime(CLOCK_REALTIME, &now) < 0)
        say("the clock stays: %s", strerror(errno));
}

static void set_mac(const char *text)
{
    struct ifreq request = {.ifr_hwaddr.sa_family = ARPHRD_ETHER};
    unsigned byte[6];
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", byte, byte + 1, byte + 2, byte + 3, byte + 4, byte + 5) != 6)
        return;
    for (int i = 0; i < 6; i++)
        request.ifr_hwaddr.sa_data[i] = (char)byte[i];
    snprintf(request.ifr_name, sizeof request.ifr_name, "eth0");
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ioctl(control, SIOCSIFHWADDR, &request) < 0)
        say("the network card keeps its address: %s", strerror(errno));
    close(control);
}

/* A copy of a running machine is its parent's twin: random numbers, clock and addresses are the same until it is told its own. */
bool wake(const char *json)
{
    const char *id = value_of(json, "id"), *mac = value_of(json, "mac");
    const char *time = value_of(json, "time"), *entropy = value_of(json, "entropy");
    if (!id || !mac || !time || !entropy)
        return false;
    mix_in(entropy);
    set_clock(atoll(time));
    if (sethostname(id, strcspn(id, "\"")) < 0)
        say("no name: %s", strerror(errno));
    set_mac(mac);
    say("woken as %.*s", (int)strcspn(id, "\""), id);
    return true;
}

/* A program that serves the port itself hands on here what it was told, and hears `ok` when that is done. */
static void told(struct watch *watch, uint32_t events)
{
    (void)events;
    int client = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0)
        return;
    struct timeval patience = {.tv_sec = 1};
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    char json[TEXT_LIMIT];
    size_t length = 0;
    for (ssize_t more; length < sizeof json - 1; length += (size_t)more) {
        more = read(client, json + length, sizeof json - 1 - length);
        if (more <= 0 || memchr(json + length, '\n', (size_t)more)) {
            length += more > 0 ? (size_t)more : 0;
            break;
        }
    }
    json[length] = '\0';
    const char *answer = wake(json) ? "ok\n" : "not understood\n";
    if (write(client, answer, strlen(answer)) < 0)
        say("whoever woke the machine has gone");
    close(client);
}

void wake_open(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/wake"};
    listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    listener.ready = told;
    if (bind(listener.fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener.fd, 4) < 0)
        say("nobody can wake the machine: %s", strerror(errno));
    else
        loop_watch(&listener, EPOLLIN);
}
