#include "guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const names[FAULTS] = {
    "never-healthy", "dies-after", "unhealthy-after", "slow", "errors", "hang-after",
    "panic-after", "oom-after", "ignore-volumes", "keep-volume", "keep-slot", "leak",
};

static struct {
    bool on;
    long value;
    int64_t since;
} faults[FAULT_SOURCES][FAULTS];

static int find(const char *name)
{
    for (int i = 0; i < FAULTS; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

/* Sets MODE[:N][,MODE...]. A volume's faults replace those of the volume before it. */
bool faults_set(enum fault_source source, const char *text)
{
    if (source == FROM_VOLUME)
        memset(faults[source], 0, sizeof faults[source]);

    char copy[256];
    snprintf(copy, sizeof copy, "%s", text);
    bool known = true;
    char *rest = copy;
    for (char *word; (word = strsep(&rest, ",")) != NULL;) {
        char *value = strchr(word, ':');
        if (value)
            *value++ = '\0';
        if (!*word)
            continue;
        int fault = find(word);
        if (fault < 0) {
            say("unknown fault %s", word);
            known = false;
            continue;
        }
        faults[source][fault].on = true;
        faults[source][fault].value = value ? atol(value) : 0;
        faults[source][fault].since = now_ms();
        say("fault %s:%ld is set", word, faults[source][fault].value);
    }
    program_tell_health();
    return known;
}

bool fault_on(enum fault fault)
{
    for (int source = 0; source < FAULT_SOURCES; source++)
        if (faults[source][fault].on)
            return true;
    return false;
}

long fault_value(enum fault fault)
{
    long value = 0;
    for (int source = 0; source < FAULT_SOURCES; source++)
        if (faults[source][fault].on && faults[source][fault].value > value)
            value = faults[source][fault].value;
    return value;
}

static int64_t due(enum fault fault)
{
    int64_t due = NEVER;
    for (int source = 0; source < FAULT_SOURCES; source++)
        if (faults[source][fault].on)
            due = earlier(due, faults[source][fault].since + faults[source][fault].value);
    return due;
}

bool fault_unhealthy(void)
{
    return fault_on(NEVER_HEALTHY) || due(UNHEALTHY_AFTER) <= now_ms();
}

/* Spread evenly by a counter, so that a test knows how many there will be. */
bool fault_error_now(void)
{
    static long share;
    share += fault_value(ERRORS);
    if (share < 100)
        return false;
    share -= 100;
    return true;
}

/* A leak takes little and often: its curve is even, and no answer waits for it. */
enum { LEAK_EVERY = 100 };
static int64_t next_leak;

int64_t faults_deadline(void)
{
    int64_t soonest = earlier(earlier(due(DIES_AFTER), due(HANG_AFTER)), earlier(due(PANIC_AFTER), due(OOM_AFTER)));
    if (fault_on(LEAK))
        soonest = earlier(soonest, next_leak);
    int64_t unhealthy = due(UNHEALTHY_AFTER);
    return unhealthy > now_ms() ? earlier(soonest, unhealthy) : soonest;
}

static void eat_all_memory(void)
{
    /* PID 1 is never chosen by the OOM killer, so the kernel ends up with nobody to kill. */
    for (;;) {
        char *piece = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece != MAP_FAILED)
            memset(piece, 1, 1 << 20);
    }
}

/* KiB a second, in steps; what is taken is never given back. */
static void leak(int64_t now)
{
    size_t size = (size_t)fault_value(LEAK) * 1024 * LEAK_EVERY / 1000;
    char *piece = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (piece != MAP_FAILED)
        memset(piece, 1, size);
    next_leak = now + LEAK_EVERY;
}

static void panic(void)
{
    int trigger = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
    if (write(trigger, "c", 1) < 0)
        _exit(1);
}

void faults_tick(void)
{
    static bool told;
    int64_t now = now_ms();
    if (due(DIES_AFTER) <= now) {
        say("dies: fault dies-after:%ld", fault_value(DIES_AFTER));
        machine_off();
    }
    if (due(HANG_AFTER) <= now) {
        say("hangs: fault hang-after:%ld", fault_value(HANG_AFTER));
        program_freeze();
        for (;;)
            pause();
    }
    if (due(PANIC_AFTER) <= now) {
        say("panics: fault panic-after:%ld", fault_value(PANIC_AFTER));
        panic();
    }
    if (due(OOM_AFTER) <= now) {
        say("eats all memory: fault oom-after:%ld", fault_value(OOM_AFTER));
        eat_all_memory();
    }
    if (fault_on(LEAK) && next_leak <= now)
        leak(now);
    if (fault_unhealthy() != told) {
        told = !told;
        program_tell_health();
    }
}
