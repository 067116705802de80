#include "guest.h"

#include <fcntl.h>
#include <linux/input.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#define INPUTS 8
#define PATIENCE_MS 10000

static struct watch inputs[INPUTS];
static int64_t give_up = NEVER;

static void input_ready(struct watch *, uint32_t events);

void power_open(void)
{
    for (int i = 0; i < INPUTS; i++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/input/event%d", i);
        inputs[i].fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        inputs[i].ready = input_ready;
        if (inputs[i].fd >= 0)
            loop_watch(&inputs[i], EPOLLIN);
    }
}

static void input_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    struct input_event event;
    while (read(watch->fd, &event, sizeof event) == sizeof event)
        if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1 && give_up == NEVER) {
            say("power button: finishing requests in flight");
            give_up = now_ms() + PATIENCE_MS;
        }
}

bool power_stopping(void)
{
    return give_up != NEVER;
}

int64_t power_deadline(void)
{
    return give_up == NEVER ? NEVER : earlier(give_up, now_ms() + 20);
}

void power_tick(void)
{
    if (give_up == NEVER)
        return;
    bool stopped = options.mode == MODE_FILES ? http_stop() : program_stop();
    if (!stopped && now_ms() < give_up)
        return;
    if (!stopped)
        say("some requests did not finish in %d ms", PATIENCE_MS);
    program_kill();
    say("power off");
    machine_off();
}
