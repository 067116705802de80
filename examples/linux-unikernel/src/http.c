#include "guest.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLIENTS 512
#define HEAD_LIMIT 8192
#define BODY_LIMIT (1 << 20)
#define IDLE_MS 120000
#define KEEP_LIMIT (16 << 20)

enum phase { CLOSED, READING_HEAD, READING_BODY, DELAYED, WRITING };

struct client {
    struct watch watch;
    enum phase phase;
    uint32_t wanted;
    int64_t last_active, answer_at;

    char in[HEAD_LIMIT];
    size_t in_length;

    char method[16], path[1024];
    bool head_only, keep_alive, chunked;
    long body_left; /* of a chunked body: of this chunk; -1 where the next size line starts */
    bool last_chunk;
    char *body;
    size_t body_length;

    char head[768];
    size_t head_length, sent;
    char *text;
    size_t text_length;
    int file;
    off_t file_at, file_end;
    struct volume *volume;
};

static struct client clients[CLIENTS];
static struct watch listener = {.fd = -1};
static unsigned long served;

static void accept_ready(struct watch *, uint32_t events);
static void client_ready(struct watch *, uint32_t events);
static void advance(struct client *);
static bool read_head(struct client *);
static bool read_body(struct client *);
static void answer(struct client *);
static void write_answer(struct client *);
static void finish(struct client *);
static void hang_up(struct client *);

/* Connections ------------------------------------------------------------------------------ */

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
    static char piece[1 << 16];
    long budget = KEEP_LIMIT;
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &clients[i];
        off_t at = client->file_at;
        while (client->phase == WRITING && client->volume == volume && at < client->file_end && budget > 0) {
            ssize_t length = pread(client->file, piece, sizeof piece, at);
            if (length <= 0)
                break;
            at += length;
            budget -= length;
        }
    }
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

static void hang_up(struct client *client)
{
    volumes_release(client->volume);
    if (client->file >= 0)
        close(client->file);
    free(client->body);
    free(client->text);
    close(client->watch.fd);
    client->watch.fd = client->file = -1;
    client->file_end = 0;
    client->volume = NULL;
    client->body = client->text = NULL;
    client->text_length = 0;
    client->phase = CLOSED;
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

/* Requests --------------------------------------------------------------------------------- */

static void take_in(struct client *client, size_t length)
{
    client->in_length -= length;
    memmove(client->in, client->in + length, client->in_length);
}

static void respond(struct client *client, int status, const char *type, char *text, size_t length);

static void refuse(struct client *client, int status, const char *text)
{
    client->keep_alive = false;
    respond(client, status, "text/plain; charset=utf-8", strdup(text), strlen(text));
}

static bool has_word(const char *list, const char *word)
{
    for (size_t size = strlen(word); *list; list++)
        if (!strncasecmp(list, word, size))
            return true;
    return false;
}

static void take_field(struct client *client, char *line, bool *expects)
{
    char *value = strchr(line, ':');
    if (!value)
        return;
    *value++ = '\0';
    value += strspn(value, " \t");
    if (!strcasecmp(line, "connection")) {
        if (has_word(value, "close"))
            client->keep_alive = false;
        else if (has_word(value, "keep-alive"))
            client->keep_alive = true;
    } else if (!strcasecmp(line, "content-length"))
        client->body_left = strspn(value, "0123456789") == 0 ? -2 : atol(value);
    else if (!strcasecmp(line, "transfer-encoding"))
        client->chunked = has_word(value, "chunked");
    else if (!strcasecmp(line, "expect"))
        *expects = has_word(value, "100-continue");
}

/* Percent-decoding, without the query. False for what no file name can be. */
static bool decode_path(const char *target, char *path, size_t size)
{
    if (!strncmp(target, "http://", 7)) {
        target = strchr(target + 7, '/');
        if (!target)
            target = "/";
    }
    if (*target != '/')
        return false;
    size_t length = 0;
    for (; *target && *target != '?' && *target != '#'; target++) {
        char c = *target;
        if (c == '%') {
            if (!isxdigit((unsigned char)target[1]) || !isxdigit((unsigned char)target[2]))
                return false;
            char digits[3] = {target[1], target[2], '\0'};
            c = (char)strtol(digits, NULL, 16);
            target += 2;
        }
        if (c == '\0' || length + 2 > size)
            return false;
        path[length++] = c;
    }
    path[length] = '\0';
    return true;
}

static bool read_head(struct client *client)
{
    char *end = memmem(client->in, client->in_length, "\r\n\r\n", 4);
    if (!end) {
        if (client->in_length == sizeof client->in)
            refuse(client, 431, "request head too large\n");
        return false;
    }
    size_t length = (size_t)(end + 4 - client->in);
    end[2] = '\0';
    char *rest = client->in, *line = strsep(&rest, "\n");
    line[strcspn(line, "\r")] = '\0';

    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version || target - line >= (long)sizeof client->method || strncmp(version + 1, "HTTP/1.", 7)) {
        refuse(client, 400, "not an HTTP/1 request\n");
        return false;
    }
    *target++ = *version++ = '\0';
    strcpy(client->method, line);
    client->head_only = !strcmp(client->method, "HEAD");
    client->keep_alive = strcmp(version, "HTTP/1.0") != 0;
    client->chunked = client->last_chunk = false;
    client->body_left = 0;
    client->body_length = 0;

    bool expects = false;
    while ((line = strsep(&rest, "\n")) != NULL) {
        line[strcspn(line, "\r")] = '\0';
        take_field(client, line, &expects);
    }
    bool good = decode_path(target, client->path, sizeof client->path);
    take_in(client, length);
    if (client->chunked)
        client->body_left = -1;
    if (!good || client->body_left == -2) {
        refuse(client, 400, "bad request\n");
        return false;
    }
    if (client->body_left > BODY_LIMIT) {
        refuse(client, 413, "body too large\n");
        return false;
    }
    if (expects && send(client->watch.fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL) < 0)
        client->keep_alive = false;
    client->phase = READING_BODY;
    return true;
}

static bool keep_body(struct client *client, size_t length)
{
    if (client->body_length + length > BODY_LIMIT) {
        refuse(client, 413, "body too large\n");
        return false;
    }
    char *body = realloc(client->body, client->body_length + length + 1);
    if (!body) {
        refuse(client, 503, "out of memory\n");
        return false;
    }
    client->body = body;
    memcpy(body + client->body_length, client->in, length);
    client->body_length += length;
    take_in(client, length);
    return true;
}

/* One line of a chunked body: a size, the end of a chunk, or a trailer. False if not there yet. */
static bool read_chunk_line(struct client *client)
{
    char *end = memmem(client->in, client->in_length, "\r\n", 2);
    if (!end) {
        if (client->in_length == sizeof client->in)
            refuse(client, 400, "bad chunk\n");
        return false;
    }
    bool empty = end == client->in;
    bool size_line = !empty && !client->last_chunk;
    if (size_line) {
        if (!isxdigit((unsigned char)client->in[0])) {
            refuse(client, 400, "bad chunk\n");
            return false;
        }
        client->body_left = strtol(client->in, NULL, 16);
        if (client->body_left > BODY_LIMIT) {
            refuse(client, 413, "body too large\n");
            return false;
        }
        client->last_chunk = client->body_left == 0;
        if (client->last_chunk)
            client->body_left = -1;
    } else if (empty && client->last_chunk)
        client->body_left = 0, client->chunked = false;
    take_in(client, (size_t)(end + 2 - client->in));
    return true;
}

/* The body is read whole before the answer: a request is short here, and a proxy may send it slowly. */
static bool read_body(struct client *client)
{
    for (;;) {
        if (client->body_left > 0) {
            if (client->in_length == 0)
                return false;
            size_t length = client->in_length;
            if (length > (size_t)client->body_left)
                length = (size_t)client->body_left;
            if (!keep_body(client, length))
                return false;
            client->body_left -= (long)length;
            if (client->body_left == 0 && client->chunked)
                client->body_left = -1;
        } else if (client->chunked) {
            if (!read_chunk_line(client))
                return false;
        } else
            break;
    }
    long slow = fault_value(SLOW);
    if (slow > 0) {
        client->phase = DELAYED;
        client->answer_at = now_ms() + slow;
    } else
        answer(client);
    return true;
}

/* Answers ---------------------------------------------------------------------------------- */

static const char *reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 301: return "Moved Permanently";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    default: return "Service Unavailable";
    }
}

static void compose_head(struct client *client, int status, const char *type, long long length, const char *more)
{
    if (power_stopping())
        client->keep_alive = false;
    client->head_length = (size_t)snprintf(
        client->head, sizeof client->head,
        "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %lld\r\nConnection: %s\r\n%s\r\n", status,
        reason(status), type, length, client->keep_alive ? "keep-alive" : "close", more);
    client->sent = 0;
    client->phase = WRITING;
    served++;
}

/* Takes over text, which was allocated. */
static void respond(struct client *client, int status, const char *type, char *text, size_t length)
{
    compose_head(client, status, type, (long long)length, "");
    client->text = text;
    client->text_length = client->head_only ? 0 : length;
}

static void respond_text(struct client *client, int status, const char *text)
{
    char *line = NULL;
    int length = asprintf(&line, "%s\n", text);
    respond(client, status, "text/plain; charset=utf-8", line, length < 0 ? 0 : (size_t)length);
}

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"}, {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"}, {".mjs", "text/javascript; charset=utf-8"},
        {".json", "application/json"}, {".svg", "image/svg+xml"}, {".png", "image/png"},
        {".jpg", "image/jpeg"}, {".ico", "image/x-icon"}, {".woff2", "font/woff2"},
        {".txt", "text/plain; charset=utf-8"}, {".xml", "application/xml"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (!strcasecmp(dot, types[i][0]))
            return types[i][1];
    return "application/octet-stream";
}

/* Beneath the volume by the kernel's own word: neither `..` nor a link leads out of it. */
static int open_beneath(int root, const char *path)
{
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

static void move_to_folder(struct client *client)
{
    char more[440];
    const char *p = client->path;
    /* Only what needs no encoding and cannot be read as another host. */
    if (strlen(p) > 400 || strpbrk(p, "\r\n \"<>%?#\\") || !strncmp(p, "//", 2)) {
        respond_text(client, 404, "not found");
        return;
    }
    snprintf(more, sizeof more, "Location: %.400s/\r\n", p);
    compose_head(client, 301, "text/plain", 0, more);
}

static void answer_file(struct client *client)
{
    struct volume *volume = volumes_current();
    if (!volume) {
        respond_text(client, 503, "no volume");
        return;
    }
    if (fault_error_now()) {
        respond_text(client, 500, "fault errors");
        return;
    }
    char path[1040];
    const char *relative = client->path + strspn(client->path, "/");
    bool folder = !*relative || relative[strlen(relative) - 1] == '/';
    snprintf(path, sizeof path, "%s%s", relative, folder ? "index.html" : "");

    struct stat about;
    int file = open_beneath(volume->root, path);
    if (file >= 0 && fstat(file, &about) == 0 && S_ISDIR(about.st_mode)) {
        close(file);
        move_to_folder(client);
        return;
    }
    if (file < 0 || !S_ISREG(about.st_mode)) {
        if (file >= 0)
            close(file);
        respond_text(client, 404, "not found");
        return;
    }
    char more[300];
    snprintf(more, sizeof more, "X-Unideploy-Revision: %s\r\n", volume->revision);
    compose_head(client, 200, type_of(path), (long long)about.st_size, more);
    client->volume = volumes_use();
    client->file = file;
    client->file_at = 0;
    client->file_end = client->head_only ? 0 : about.st_size;
}

static void answer_health(struct client *client)
{
    if (fault_unhealthy())
        respond_text(client, 503, "unhealthy");
    else if (power_stopping())
        respond_text(client, 503, "stopping");
    else if (options.wait_volume && !volumes_current())
        respond_text(client, 503, "no volume");
    else
        respond_text(client, 200, "ok");
}

static void answer_revision(struct client *client)
{
    struct volume *volume = volumes_current();
    if (volume)
        respond_text(client, 200, volume->revision);
    else if (*options.revision)
        respond_text(client, 200, options.revision);
    else
        respond_text(client, 404, "no revision");
}

static void print_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++)
        if (*text == '"' || *text == '\\' || (unsigned char)*text < ' ')
            fprintf(out, "\\u%04x", *text);
        else
            fputc(*text, out);
    fputc('"', out);
}

static void answer_status(struct client *client)
{
    char boot_id[64] = "";
    read_text(AT_FDCWD, "/proc/sys/kernel/random/boot_id", boot_id, sizeof boot_id);
    unsigned char random[16] = {0};
    machine_reseed();
    if (getrandom(random, sizeof random, 0) < 0)
        say("no random numbers: %s", strerror(errno));

    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    fprintf(out, "{\"boot_id\":\"%s\",\"uptime_ms\":%lld,\"served\":%lu,\"volumes\":[", boot_id, (long long)now_ms(), served);
    for (struct volume *v = volumes_newest(); v; v = v->older) {
        fprintf(out, "{\"device\":\"%s\",\"fs\":\"%s\",\"revision\":", v->device, v->fs);
        print_quoted(out, v->revision);
        fprintf(out, ",\"current\":%s,\"mounted\":%s,\"users\":%d}%s", v == volumes_current() ? "true" : "false",
                v->mounted ? "true" : "false", v->users, v->older ? "," : "");
    }
    fprintf(out, "],\"random\":\"");
    for (size_t i = 0; i < sizeof random; i++)
        fprintf(out, "%02x", random[i]);
    fprintf(out, "\"}\n");
    fclose(out);
    respond(client, 200, "application/json", text, length);
}

static void answer_echo(struct client *client)
{
    char *body = client->body;
    client->body = NULL;
    respond(client, 200, "application/octet-stream", body, client->body_length);
}

static bool answer_fault(struct client *client)
{
    static const char prefix[] = "/.unideploy/fault/";
    if (!options.control || strncmp(client->path, prefix, sizeof prefix - 1))
        return false;
    bool known = faults_set(FROM_CONTROL, client->path + sizeof prefix - 1);
    respond_text(client, known ? 200 : 404, known ? "set" : "unknown fault");
    return true;
}

static void answer(struct client *client)
{
    const char *path = client->path;
    if (!strcmp(client->method, "POST")) {
        if (!strcmp(path, "/.unideploy/echo"))
            answer_echo(client);
        else if (!answer_fault(client))
            respond_text(client, 405, "only GET and HEAD");
    } else if (strcmp(client->method, "GET") && !client->head_only)
        respond_text(client, 405, "only GET and HEAD");
    else if (!strcmp(path, options.health))
        answer_health(client);
    else if (!strcmp(path, "/.unideploy/revision"))
        answer_revision(client);
    else if (!strcmp(path, "/.unideploy/status"))
        answer_status(client);
    else
        answer_file(client);
}

static void write_answer(struct client *client)
{
    while (client->sent < client->head_length + client->text_length) {
        bool head = client->sent < client->head_length;
        const char *from = head ? client->head + client->sent : client->text + (client->sent - client->head_length);
        size_t left = head ? client->head_length - client->sent : client->head_length + client->text_length - client->sent;
        bool more = head && (client->text_length > 0 || client->file_end > 0);
        ssize_t sent = send(client->watch.fd, from, left, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent <= 0) {
            hang_up(client);
            return;
        }
        client->sent += (size_t)sent;
    }
    while (client->file >= 0 && client->file_at < client->file_end) {
        ssize_t sent = sendfile(client->watch.fd, client->file, &client->file_at, (size_t)(client->file_end - client->file_at));
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent <= 0) {
            hang_up(client);
            return;
        }
    }
    finish(client);
}

static void finish(struct client *client)
{
    volumes_release(client->volume);
    if (client->file >= 0)
        close(client->file);
    free(client->body);
    free(client->text);
    client->file = -1;
    client->file_end = 0;
    client->volume = NULL;
    client->body = client->text = NULL;
    client->text_length = 0;
    client->phase = READING_HEAD;
    if (!client->keep_alive) {
        /* Closing with unread input would reset the connection and lose the answer. */
        shutdown(client->watch.fd, SHUT_WR);
        while (recv(client->watch.fd, client->in, sizeof client->in, 0) > 0)
            continue;
        hang_up(client);
    }
}
