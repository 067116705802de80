/* A small HTTP server, the whole program of a machine: its version is compiled in. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION "unknown"
#endif
#define CLIENTS 256
#define IDLE_SECONDS 120

struct client {
    int fd;
    time_t last_active;
    char in[8192];
    size_t in_length;
    char out[1024];
    size_t out_length, sent;
    bool close_after;
};

static struct client clients[CLIENTS];
static struct pollfd polled[CLIENTS + 1];
static volatile sig_atomic_t stopping;

static int open_port(int port);
static void accept_clients(int listener);
static void serve(struct client *);
static bool answer_next(struct client *);
static bool send_answer(struct client *);
static bool anyone_left(void);
static time_t seconds(void);

static void stop(int signal)
{
    (void)signal;
    stopping = 1;
}

int main(void)
{
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < CLIENTS; i++)
        clients[i].fd = -1;

    const char *port = getenv("PORT");
    int listener = open_port(port ? atoi(port) : 8080);
    if (listener < 0) {
        perror("compiled-app");
        return 1;
    }
    printf("compiled-app %s\n", VERSION);
    fflush(stdout);

    while (!stopping || anyone_left()) {
        if (stopping && listener >= 0) {
            close(listener);
            listener = -1;
        }
        polled[CLIENTS] = (struct pollfd){.fd = listener, .events = POLLIN};
        for (int i = 0; i < CLIENTS; i++)
            polled[i] = (struct pollfd){.fd = clients[i].fd, .events = clients[i].out_length ? POLLOUT : POLLIN};
        poll(polled, CLIENTS + 1, 250);
        for (int i = 0; i < CLIENTS; i++)
            if (clients[i].fd >= 0)
                serve(&clients[i]);
        if (polled[CLIENTS].revents & POLLIN)
            accept_clients(listener);
    }
    return 0;
}

static time_t seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static int open_port(int port)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 256) < 0)
        return -1;
    return listener;
}

static void accept_clients(int listener)
{
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i].fd >= 0)
            continue;
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        clients[i].fd = fd;
        clients[i].last_active = seconds();
        clients[i].in_length = clients[i].out_length = clients[i].sent = 0;
        clients[i].close_after = false;
    }
}

static void hang_up(struct client *client)
{
    close(client->fd);
    client->fd = -1;
}

/* Reads and answers until it would block. */
static void serve(struct client *client)
{
    for (;;) {
        if (client->out_length > 0) {
            if (!send_answer(client))
                return;
            continue;
        }
        if (answer_next(client))
            continue;
        size_t room = sizeof client->in - client->in_length;
        ssize_t length = room ? recv(client->fd, client->in + client->in_length, room, 0) : 0;
        if (length < 0 && errno == EAGAIN) {
            bool idle = client->in_length == 0;
            if ((stopping && idle) || client->last_active + IDLE_SECONDS < seconds())
                hang_up(client);
            return;
        }
        if (length <= 0) {
            hang_up(client);
            return;
        }
        client->in_length += (size_t)length;
        client->last_active = seconds();
    }
}

static void compose(struct client *client, bool head_only, int status, const char *reason, const char *text)
{
    client->sent = 0;
    client->out_length = (size_t)snprintf(
        client->out, sizeof client->out,
        "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\nConnection: %s\r\n\r\n%s",
        status, reason, strlen(text), client->close_after ? "close" : "keep-alive", head_only ? "" : text);
}

/* Takes one whole request out of the buffer; false if there is none yet. */
static bool answer_next(struct client *client)
{
    char *end = memmem(client->in, client->in_length, "\r\n\r\n", 4);
    if (!end)
        return false;
    *end = '\0';
    const char *revision = getenv("UNIDEPLOY_REVISION");
    char method[8] = "", path[256] = "", line[300];
    sscanf(client->in, "%7s %255s", method, path);
    path[strcspn(path, "?")] = '\0';
    bool head = !strcmp(method, "HEAD");
    /* A body would be taken for the next request: no route wants one, so the connection ends. */
    client->close_after = stopping || (strcmp(method, "GET") && !head) || strstr(client->in, " HTTP/1.0") ||
                          strcasestr(client->in, "\nconnection: close");

    if (strcmp(method, "GET") && !head)
        compose(client, head, 405, "Method Not Allowed", "only GET and HEAD\n");
    else if (!strcmp(path, "/"))
        compose(client, head, 200, "OK", "Hello from compiled-app " VERSION ".\n");
    else if (!strcmp(path, "/health"))
        compose(client, head, stopping ? 503 : 200, stopping ? "Service Unavailable" : "OK", stopping ? "stopping\n" : "ok\n");
    else if (!strcmp(path, "/.unideploy/revision") && revision && *revision) {
        snprintf(line, sizeof line, "%.256s\n", revision);
        compose(client, head, 200, "OK", line);
    } else
        compose(client, head, 404, "Not Found", "not found\n");

    size_t taken = (size_t)(end + 4 - client->in);
    client->in_length -= taken;
    memmove(client->in, client->in + taken, client->in_length);
    return true;
}

static bool send_answer(struct client *client)
{
    ssize_t length = send(client->fd, client->out + client->sent, client->out_length - client->sent, 0);
    if (length < 0 && errno == EAGAIN)
        return false;
    if (length <= 0) {
        hang_up(client);
        return false;
    }
    client->sent += (size_t)length;
    if (client->sent < client->out_length)
        return true;
    client->out_length = 0;
    if (!client->close_after)
        return true;
    shutdown(client->fd, SHUT_WR);
    hang_up(client);
    return false;
}

static bool anyone_left(void)
{
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i].fd >= 0)
            return true;
    return false;
}
