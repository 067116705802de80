/* The file server from the inside: what a connection is to the files that serve it. */
#pragma once

#include "guest.h"

#define HEAD_LIMIT 8192
#define BODY_LIMIT (1 << 20)

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

/* connections.c: sockets, their buffers, their ends */
void take_in(struct client *, size_t length);
void finish(struct client *);
void hang_up(struct client *);

/* requests.c: the head of a request, and the path in it; false unless whole and not refused */
bool read_head(struct client *);

/* bodies.c: the body, of a known length or in chunks; false unless whole and not refused */
bool read_body(struct client *);

/* routes.c: which request gets which answer, and when */
void answer_in_time(struct client *);
void answer(struct client *);

/* answers.c: heads and texts, and sending them */
void compose_head(struct client *, int status, const char *type, long long length, const char *more);
void respond(struct client *, int status, const char *type, char *text, size_t length);
void respond_text(struct client *, int status, const char *text);
void refuse(struct client *, int status, const char *text);
void write_answer(struct client *);
unsigned long answers_served(void);

/* files.c: what a volume holds */
void answer_file(struct client *);
long read_ahead(struct client *, long budget);

/* data.c: what is written to the data disk and read from it; false where the path is another */
bool answer_data(struct client *);

/* control.c: what the machine tells of itself and takes from outside */
void answer_health(struct client *);
void answer_revision(struct client *);
void answer_status(struct client *);
void answer_echo(struct client *);
void answer_wake(struct client *);
bool answer_fault(struct client *);
