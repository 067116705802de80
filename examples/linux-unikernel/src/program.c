#include "guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_MS 20
#define RESTART_MS 200
#define QUIET_MS 5000

static struct watch children;
static pid_t program;
static bool ready, asked_to_stop;
static int64_t start_at = NEVER, quiet_until = NEVER;

static void child_ready(struct watch *, uint32_t events);
static void launch(void);
static bool accepts(void);
static int connections(void);

void program_start(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    children.fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    children.ready = child_ready;
    loop_watch(&children, EPOLLIN);

    char port[16];
    snprintf(port, sizeof port, "%d", options.port);
    setenv("PORT", port, 1);
    setenv("UNIDEPLOY_REVISION", options.revision, 1);
    setenv("UNIDEPLOY_HEALTH", options.health, 1);
    setenv("PHP_CLI_SERVER_WORKERS", "4", 1);
    setenv("PHPRC", "/etc/php.ini", 1);
    program_tell_health();
    launch();
}

int64_t program_deadline(void)
{
    return earlier(start_at, ready ? NEVER : now_ms() + PROBE_MS);
}

void program_tick(void)
{
    if (start_at <= now_ms())
        launch();
    if (!ready && program && accepts()) {
        ready = true;
        say("ready on port %d", options.port);
    }
}

/* True once the program has ended. */
bool program_stop(void)
{
    if (!program)
        return true;
    if (quiet_until == NEVER) {
        quiet_until = now_ms() + QUIET_MS;
        program_tell_health();
    }
    /* php -S finishes the script it runs, but drops a connection whose request it has not read. */
    if (options.mode == MODE_PHP && connections() > 0 && now_ms() < quiet_until)
        return false;
    if (!asked_to_stop) {
        asked_to_stop = true;
        kill(options.mode == MODE_PHP ? -program : program, options.mode == MODE_PHP ? SIGINT : SIGTERM);
    }
    return false;
}

void program_kill(void)
{
    if (program)
        kill(-program, SIGKILL);
}

void program_freeze(void)
{
    if (program)
        kill(-program, SIGSTOP);
}

/* What srv/router.php has to know at each request. */
void program_tell_health(void)
{
    if (options.mode != MODE_PHP)
        return;
    char text[512];
    snprintf(text, sizeof text, "{\"healthy\":%s,\"waitVolume\":%s,\"slow\":%ld,\"errors\":%ld}\n",
             fault_unhealthy() || quiet_until != NEVER ? "false" : "true", options.wait_volume ? "true" : "false",
             fault_value(SLOW), fault_value(ERRORS));
    write_text("/run/guest.json", text);
}

static void launch(void)
{
    static char port[32];
    snprintf(port, sizeof port, "0.0.0.0:%d", options.port);
    /* -q twice: a line per request on a serial console costs more than the request. */
    char *php[] = {"php", "-q", "-q", "-S", port, "-t", "/srv/www", "/srv/router.php", NULL};
    char *app[] = {"/app", NULL};

    start_at = NEVER;
    program = fork();
    if (program > 0)
        return;
    setpgid(0, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    execv(options.mode == MODE_PHP ? "/usr/bin/php" : "/app", options.mode == MODE_PHP ? php : app);
    say("cannot run it: %s", strerror(errno));
    _exit(127);
}

static void ended(int status)
{
    const char *how = WIFSIGNALED(status) ? "signal" : "status";
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    pid_t group = program;
    program = 0;
    if (asked_to_stop || power_stopping())
        return;
    say("%s ended with %s %d", options.mode == MODE_PHP ? "php" : "app", how, number);
    if (options.mode == MODE_APP)
        machine_off();
    /* Its workers would keep the port. */
    kill(-group, SIGKILL);
    ready = false;
    start_at = now_ms() + RESTART_MS;
}

static void child_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    struct signalfd_siginfo signal;
    while (read(watch->fd, &signal, sizeof signal) == sizeof signal)
        continue;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == program)
            ended(status);
}

static bool accepts(void)
{
    int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool connected = connect(probe, (struct sockaddr *)&address, sizeof address) == 0;
    close(probe);
    return connected;
}

static int connections(void)
{
    FILE *table = fopen("/proc/net/tcp", "re");
    int count = 0;
    char line[256];
    while (table && fgets(line, sizeof line, table)) {
        unsigned port, state;
        const unsigned established = 1;
        if (sscanf(line, " %*d: %*x:%x %*x:%*x %x", &port, &state) == 2)
            count += (int)port == options.port && state == established;
    }
    if (table)
        fclose(table);
    return count;
}
