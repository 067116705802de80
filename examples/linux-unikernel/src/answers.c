#include "http.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

static unsigned long served;

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

void compose_head(struct client *client, int status, const char *type, long long length, const char *more)
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
void respond(struct client *client, int status, const char *type, char *text, size_t length)
{
    compose_head(client, status, type, (long long)length, "");
    client->text = text;
    client->text_length = client->head_only ? 0 : length;
}

void respond_text(struct client *client, int status, const char *text)
{
    char *line = NULL;
    int length = asprintf(&line, "%s\n", text);
    respond(client, status, "text/plain; charset=utf-8", line, length < 0 ? 0 : (size_t)length);
}

void refuse(struct client *client, int status, const char *text)
{
    client->keep_alive = false;
    respond(client, status, "text/plain; charset=utf-8", strdup(text), strlen(text));
}

void write_answer(struct client *client)
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

unsigned long answers_served(void)
{
    return served;
}
