#include "http.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

void answer_health(struct client *client)
{
    if (fault_unhealthy())
        respond_text(client, 503, "unhealthy");
    else if (power_stopping())
        respond_text(client, 503, "stopping");
    else if (!data_ready())
        respond_text(client, 503, "no data");
    else if (options.wait_volume && !volumes_current())
        respond_text(client, 503, "no volume");
    else
        respond_text(client, 200, "ok");
}

void answer_revision(struct client *client)
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

void answer_status(struct client *client)
{
    char boot_id[64] = "", name[65] = "", mac[32] = "";
    gethostname(name, sizeof name - 1);
    read_text(AT_FDCWD, "/sys/class/net/eth0/address", mac, sizeof mac);
    struct timespec clock;
    clock_gettime(CLOCK_REALTIME, &clock);
    read_text(AT_FDCWD, "/proc/sys/kernel/random/boot_id", boot_id, sizeof boot_id);
    unsigned char random[16] = {0};
    if (getrandom(random, sizeof random, 0) < 0)
        say("no random numbers: %s", strerror(errno));

    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    fprintf(out, "{\"boot_id\":\"%s\",\"id\":", boot_id);
    print_quoted(out, name);
    fprintf(out, ",\"mac\":\"%s\",\"time_ms\":%lld,\"uptime_ms\":%lld,\"served\":%lu,\"volumes\":[", mac,
            (long long)clock.tv_sec * 1000 + clock.tv_nsec / 1000000, (long long)now_ms(), answers_served());
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

void answer_echo(struct client *client)
{
    char *body = client->body;
    client->body = NULL;
    respond(client, 200, "application/octet-stream", body, client->body_length);
}

void answer_wake(struct client *client)
{
    char *json = strndup(client->body ? client->body : "", client->body_length);
    bool understood = json && wake(json);
    free(json);
    respond_text(client, understood ? 200 : 400, understood ? "woken" : "expected id, mac, time and entropy");
}

bool answer_fault(struct client *client)
{
    static const char prefix[] = "/.unideploy/fault/";
    if (!options.control || strncmp(client->path, prefix, sizeof prefix - 1))
        return false;
    bool known = faults_set(FROM_CONTROL, client->path + sizeof prefix - 1);
    respond_text(client, known ? 200 : 404, known ? "set" : "unknown fault");
    return true;
}
