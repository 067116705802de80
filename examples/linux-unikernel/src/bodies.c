#include "http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

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
bool read_body(struct client *client)
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
    answer_in_time(client);
    return true;
}
