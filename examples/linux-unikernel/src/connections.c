#include "http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS 512
#define IDLE_MS 120000
#define KEEP_LIMIT (16 << 20)

static struct client clients[CLIENTS];
static struct watch listener = {.fd = -1};

static void accept_ready(struct watch *, uint32_t events);
static void client_ready(struct watch *, uint32_t events);
static void advance(struct client *);

void http_open(void)
{
    listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    listener.ready = accept_ready;
    int on = 1;
    setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options.port)};
    if (bind(listener.fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener.fd, 512) < 0)
        say("cannot listen on port %d: %s", options.port, strerror(errno));
    loop_watch(&listener, EPOLLIN);
    say("ready on port %d", options.port);
}

int64_t http_deadline(void)
{
    int64_t soonest = NEVER;
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i].phase == DELAYED)
            soonest = earlier(soonest, clients[i].answer_at);
        else if (clients[i].phase != CLOSED)
            soonest = earlier(soonest, clients[i].last_active + IDLE_MS);
    return soonest;
}

void http_tick(void)
{
    int64_t now = now_ms();
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &clients[i];
        if (client->phase == DELAYED && client->answer_at <= now) {
            answer(client);
            advance(client);
        } else if (client->phase != CLOSED && client->phase != DELAYED && client->last_active + IDLE_MS <= now)
            hang_up(client);
    }
}

/* Called again and again while the machine goes down; true when no request is left. */
bool http_stop(void)
{
    if (listener.fd >= 0)
        close(listener.fd);
    listener.fd = -1;
    bool idle = true;
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &clients[i];
        if (client->phase == READING_HEAD)
            advance(client);
        if (client->phase == READING_HEAD && client->in_length == 0)
            hang_up(client);
        idle = idle && client->phase == CLOSED;
    }
    return idle;
}

/* What is still to be sent from this volume is pulled into memory: its disk may go at any moment now. */
void http_keep(struct volume *volume)
{
    long budget = KEEP_LIMIT;
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i].phase == WRITING && clients[i].volume == volume)
            budget -= read_ahead(&clients[i], budget);
}

/* When all places are taken, whoever has been idle longest makes room. */
static struct client *free_place(void)
{
    struct client *oldest = NULL;
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i].phase == CLOSED)
            return &clients[i];
        if (clients[i].phase == READING_HEAD && (!oldest || clients[i].last_active < oldest->last_active))
            oldest = &clients[i];
    }
    if (oldest)
        hang_up(oldest);
    return oldest;
}

static void accept_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    for (;;) {
        int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct client *client = free_place();
        if (!client) {
            close(fd);
            continue;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        client->watch = (struct watch){.fd = fd, .ready = client_ready};
        client->phase = READING_HEAD;
        client->in_length = 0;
        client->file = -1;
        client->last_active = now_ms();
        client->wanted = EPOLLIN;
        loop_watch(&client->watch, EPOLLIN);
        advance(client);
    }
}

static void client_ready(struct watch *watch, uint32_t events)
{
    struct client *client = (struct client *)watch;
    if (client->phase == CLOSED)
        return;
    /* While an answer waits, no input is read, so a dead peer shows up here only. */
    if (client->phase == DELAYED && events & (EPOLLHUP | EPOLLERR)) {
        hang_up(client);
        return;
    }
    client->last_active = now_ms();
    advance(client);
}

void take_in(struct client *client, size_t length)
{
    client->in_length -= length;
    memmove(client->in, client->in + length, client->in_length);
}

static void drop_request(struct client *client)
{
    if (client->file >= 0)
        close(client->file);
    volumes_release(client->volume);
    free(client->body);
    free(client->text);
    client->file = -1;
    client->file_end = 0;
    client->volume = NULL;
    client->body = client->text = NULL;
    client->text_length = 0;
}

void hang_up(struct client *client)
{
    drop_request(client);
    close(client->watch.fd);
    client->watch.fd = -1;
    client->phase = CLOSED;
}

void finish(struct client *client)
{
    drop_request(client);
    client->phase = READING_HEAD;
    if (!client->keep_alive) {
        /* Closing with unread input would reset the connection and lose the answer. */
        shutdown(client->watch.fd, SHUT_WR);
        while (recv(client->watch.fd, client->in, sizeof client->in, 0) > 0)
            continue;
        hang_up(client);
    }
}

/* The one place that decides what a connection does next; runs until it would block. */
static void advance(struct client *client)
{
    for (;;) {
        enum phase before = client->phase;
        if (before == WRITING)
            write_answer(client);
        else if (before == CLOSED || before == DELAYED)
            break;
        else {
            bool whole = before == READING_HEAD ? read_head(client) : read_body(client);
            if (client->phase == before && !whole) {
                size_t room = sizeof client->in - client->in_length;
                ssize_t more = recv(client->watch.fd, client->in + client->in_length, room, 0);
                if (more < 0 && errno == EAGAIN)
                    break;
                if (more <= 0) {
                    hang_up(client);
                    return;
                }
                client->in_length += (size_t)more;
                continue;
            }
        }
        if (client->phase == before && before == WRITING)
            break;
    }
    if (client->phase == CLOSED)
        return;
    uint32_t wanted = client->phase == WRITING ? EPOLLOUT : client->phase == DELAYED ? 0 : EPOLLIN;
    if (wanted != client->wanted)
        loop_rewatch(&client->watch, wanted);
    client->wanted = wanted;
}
