#include "guest.h"

#include <sys/epoll.h>
#include <time.h>

static int epoll;

int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void loop_open(void)
{
    epoll = epoll_create1(EPOLL_CLOEXEC);
}

static void control(int what, struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    epoll_ctl(epoll, what, watch->fd, &event);
}

void loop_watch(struct watch *watch, uint32_t events)
{
    control(EPOLL_CTL_ADD, watch, events);
}

void loop_rewatch(struct watch *watch, uint32_t events)
{
    control(EPOLL_CTL_MOD, watch, events);
}

/* A watch closed by an earlier event of the same batch may still be called: every callback is
 * non-blocking and every watch lives for ever, so that is harmless. */
void loop_wait(int64_t deadline)
{
    int timeout = -1;
    if (deadline != NEVER) {
        int64_t left = deadline - now_ms();
        timeout = left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
    }
    struct epoll_event events[64];
    int count = epoll_wait(epoll, events, 64, timeout);
    for (int i = 0; i < count; i++) {
        struct watch *watch = events[i].data.ptr;
        watch->ready(watch, events[i].events);
    }
}
