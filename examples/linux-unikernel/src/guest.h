#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* options.c: what the kernel command line asked for */
enum mode { MODE_FILES, MODE_PHP, MODE_APP };

struct options {
    enum mode mode;
    int port;
    char address[32], gateway[32];
    int prefix;
    char health[128];
    char revision[256];
    char root[32];
    char faults[256];
    char data[128];
    bool wait_volume, single, control;
};
extern struct options options;

void options_read(void);

/* loop.c: one epoll loop for everything */
struct watch {
    int fd;
    void (*ready)(struct watch *, uint32_t events);
};

#define NEVER INT64_MAX

int64_t now_ms(void);
int64_t earlier(int64_t a, int64_t b);
void loop_open(void);
void loop_watch(struct watch *, uint32_t events);
void loop_rewatch(struct watch *, uint32_t events);
void loop_wait(int64_t deadline);

/* machine.c: what a boot loader and an init system would do */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
int read_text(int directory, const char *path, char *text, size_t size);
void write_text(const char *path, const char *text);
void machine_mounts(void);
void machine_modules(void);
void machine_network(void);
void machine_keep_slots(void);
void machine_off(void) __attribute__((noreturn));

/* wake.c: who the machine is, where it is the copy of another */
bool wake(const char *json);
void wake_open(void);

/* disks.c: disks as they come and go, and what is on them */
void disks_open(void);
const char *disk_file_system(const char *path);

/* volumes.c: disks with code on them, and which of them serves */
struct volume {
    struct volume *older;
    char device[32];
    const char *fs;
    char revision[256];
    char folder[32];
    int root;
    int users;
    bool mounted, gone, keep;
};

void volumes_added(const char *device);
void volumes_removed(const char *device);
struct volume *volumes_current(void);
struct volume *volumes_newest(void);
struct volume *volumes_use(void);
void volumes_release(struct volume *);
int64_t volumes_deadline(void);
void volumes_tick(void);
void volumes_close(void);

/* data.c: the disk that is written to; closed, it is whole */
bool data_takes(const char *device);
bool data_ready(void);
int64_t data_deadline(void);
void data_tick(void);
void data_close(void);

/* connections.c: the file server; what its files share is in http.h */
void http_open(void);
int64_t http_deadline(void);
void http_tick(void);
void http_keep(struct volume *);
bool http_stop(void);

/* program.c: php or /app, where PID 1 is not the server itself */
void program_start(void);
int64_t program_deadline(void);
void program_tick(void);
bool program_stop(void);
void program_kill(void);
void program_freeze(void);
void program_tell_health(void);

/* power.c: the ACPI power button */
void power_open(void);
int64_t power_deadline(void);
void power_tick(void);
bool power_stopping(void);

/* faults.c: misbehaviour on demand */
enum fault {
    NEVER_HEALTHY, DIES_AFTER, UNHEALTHY_AFTER, SLOW, ERRORS, HANG_AFTER,
    PANIC_AFTER, OOM_AFTER, IGNORE_VOLUMES, KEEP_VOLUME, KEEP_SLOT, LEAK, FAULTS
};
enum fault_source { FROM_BOOT, FROM_VOLUME, FROM_CONTROL, FAULT_SOURCES };

bool faults_set(enum fault_source, const char *text);
bool fault_on(enum fault);
long fault_value(enum fault);
bool fault_unhealthy(void);
bool fault_error_now(void);
int64_t faults_deadline(void);
void faults_tick(void);
