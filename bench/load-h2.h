/* The client's side of HTTP/2 for the load generator: frames in, frames out, no socket and no clock. */
#ifndef LOAD_H2_H
#define LOAD_H2_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct h2 h2_t;

typedef struct {
  const char *authority, *path;
  /* What every body must be; NULL with a length: any content of it; length -1: anything. */
  const char *expected;
  long expected_length;
  int streams; /* at a time; fewer where the server allows fewer */
  void (*answered)(void *owner, double asked); /* a stream has ended as it should */
} h2_options_t;

/* A connection; its preface is output already. NULL when there is no memory. `options` must outlive it. */
h2_t *h2_open(const h2_options_t *options, void *owner);
void h2_close(h2_t *h2);

/* How many streams may be opened now: none before the server's SETTINGS. */
int h2_room(const h2_t *h2);
/* Whether anything is awaited: the server's SETTINGS or answers. */
bool h2_busy(const h2_t *h2);
/* Streams at a time that the server allows, or that were wanted if that is fewer. */
int h2_streams(const h2_t *h2);

/* Opens a stream with a GET; only where there is room. */
void h2_ask(h2_t *h2, double now);
/* Takes octets from the server; NULL, or what is wrong with them. */
const char *h2_receive(h2_t *h2, const uint8_t *data, size_t length);

/* Octets for the server, and that so many of them are gone. */
const uint8_t *h2_output(const h2_t *h2, size_t *length);
void h2_sent(h2_t *h2, size_t length);
#endif
