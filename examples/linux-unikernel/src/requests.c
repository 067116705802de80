#include "http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

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

bool read_head(struct client *client)
{
    client->head_only = false;
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
