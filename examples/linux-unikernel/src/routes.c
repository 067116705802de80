#include "http.h"

#include <string.h>

void answer(struct client *client)
{
    const char *path = client->path;
    if (answer_data(client))
        return;
    if (!strcmp(client->method, "POST")) {
        if (!strcmp(path, "/.unideploy/echo"))
            answer_echo(client);
        else if (!strcmp(path, "/.unideploy/wake"))
            answer_wake(client);
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

void answer_in_time(struct client *client)
{
    long slow = fault_value(SLOW);
    if (slow > 0) {
        client->phase = DELAYED;
        client->answer_at = now_ms() + slow;
    } else
        answer(client);
}
