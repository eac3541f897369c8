/* RFC 9113 and RFC 7541, as much of them as a client needs that asks the same thing again and again. */
#include "load-h2.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRAME_HEAD = 9, FRAME_MAX = 16384, OUTPUT_MAX = 65536, SLOTS = 4096, FIELDS_MAX = 1024 };
enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, PRIORITY = 32 };
enum { WINDOW = 1 << 30, MAX_STREAM_ID = 0x7fffffff };

typedef struct {
  uint32_t id; /* 0: free */
  bool answered;
  long received;
  double asked;
} stream_t;

struct h2 {
  const h2_options_t *options;
  void *owner;
  bool settled; /* the server's SETTINGS are here */
  bool named;   /* our fields are in the server's dynamic table */
  bool indexed; /* it has one of the usual size; else we use none, and have to say so first */
  bool told;
  int open, allowed;
  uint32_t next_id, consumed;
  stream_t streams[SLOTS];
  uint8_t in[FRAME_HEAD + FRAME_MAX];
  size_t in_length;
  uint8_t out[OUTPUT_MAX];
  size_t out_length;
  char wrong[64];
};

static void put(h2_t *h2, const void *data, size_t length) {
  /* What does not fit would be a burst of pings that nobody reads the answers to. */
  if (h2->out_length + length > OUTPUT_MAX) abort();
  memcpy(h2->out + h2->out_length, data, length);
  h2->out_length += length;
}

static void put_frame(h2_t *h2, int type, int flags, uint32_t stream, const void *payload, size_t length) {
  const uint8_t head[FRAME_HEAD] = {(uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length, (uint8_t)type, (uint8_t)flags,
    (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
  put(h2, head, sizeof head);
  put(h2, payload, length);
}

static uint32_t number(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put_window(h2_t *h2, uint32_t more) {
  const uint8_t payload[4] = {(uint8_t)(more >> 24), (uint8_t)(more >> 16), (uint8_t)(more >> 8), (uint8_t)more};
  put_frame(h2, WINDOW_UPDATE, 0, 0, payload, sizeof payload);
}

h2_t *h2_open(const h2_options_t *options, void *owner) {
  h2_t *h2 = calloc(1, sizeof *h2);
  if (h2 == NULL) return NULL;
  h2->options = options;
  h2->owner = owner;
  h2->indexed = true;
  h2->allowed = options->streams;
  h2->next_id = 1;
  put(h2, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
  /* No push; windows that never close, so that the server sends as fast as it can. */
  const uint8_t settings[] = {0, 2, 0, 0, 0, 0, 0, 4, 0x40, 0, 0, 0};
  put_frame(h2, SETTINGS, 0, 0, settings, sizeof settings);
  put_window(h2, WINDOW - 65535);
  return h2;
}

void h2_close(h2_t *h2) {
  free(h2);
}

int h2_room(const h2_t *h2) {
  return h2->settled ? h2->allowed - h2->open : 0;
}

bool h2_busy(const h2_t *h2) {
  return !h2->settled || h2->open > 0;
}

int h2_streams(const h2_t *h2) {
  return h2->allowed;
}

static stream_t *slot(h2_t *h2, uint32_t id) {
  return &h2->streams[(id >> 1) % SLOTS];
}

static size_t put_text(uint8_t *at, const char *text) {
  size_t length = strlen(text);
  if (length > 126) length = 126; /* a longer length takes more octets */
  at[0] = (uint8_t)length;
  memcpy(at + 1, text, length);
  return length + 1;
}

/* The request's fields: literals that enter the server's dynamic table the first time, four octets of indices from then on. */
static size_t put_fields(h2_t *h2, uint8_t *at) {
  size_t length = 0;
  if (!h2->indexed && !h2->told) at[length++] = 0x20; /* RFC 7541, 4.2 */
  h2->told = true;
  at[length++] = 0x82; /* :method GET */
  at[length++] = 0x87; /* :scheme https */
  if (h2->named) {
    const uint8_t last_four[] = {0xc1, 0xc0, 0xbf, 0xbe};
    memcpy(at + length, last_four, sizeof last_four);
    return length + sizeof last_four;
  }
  const struct { uint8_t name; const char *value; } fields[] = {
    {4, h2->options->path}, {1, h2->options->authority}, {58, "load"}, {19, "*/*"},
  };
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    if (h2->indexed) at[length++] = (uint8_t)(0x40 | fields[i].name);
    else if (fields[i].name < 15) at[length++] = fields[i].name;
    else { at[length++] = 15; at[length++] = (uint8_t)(fields[i].name - 15); }
    length += put_text(at + length, fields[i].value);
  }
  h2->named = h2->indexed;
  return length;
}

void h2_ask(h2_t *h2, double now) {
  while (slot(h2, h2->next_id)->id != 0) h2->next_id += 2;
  stream_t *stream = slot(h2, h2->next_id);
  *stream = (stream_t){.id = h2->next_id, .asked = now};
  h2->next_id += 2;
  h2->open++;
  uint8_t fields[FIELDS_MAX];
  put_frame(h2, HEADERS, END_STREAM | END_HEADERS, stream->id, fields, put_fields(h2, fields));
}

static const char *wrong(h2_t *h2, const char *what, uint32_t value) {
  snprintf(h2->wrong, sizeof h2->wrong, "%s %u", what, value);
  return h2->wrong;
}

static const char *end_stream(h2_t *h2, stream_t *stream) {
  if (!stream->answered) return "a stream ended without an answer";
  if (h2->options->expected_length >= 0 && stream->received != h2->options->expected_length) return "another length than expected";
  stream->id = 0;
  h2->open--;
  h2->options->answered(h2->owner, stream->asked);
  return NULL;
}

static const char *take_data(h2_t *h2, stream_t *stream, const uint8_t *data, size_t length) {
  const h2_options_t *options = h2->options;
  if (options->expected_length >= 0 && stream->received + (long)length > options->expected_length) return "more octets than expected";
  if (options->expected != NULL && memcmp(options->expected + stream->received, data, length) != 0) return "another body than expected";
  stream->received += (long)length;
  return NULL;
}

/* Status 200 has an index of its own, and is the first field there is. */
static const char *take_fields(h2_t *h2, stream_t *stream, const uint8_t *block, size_t length) {
  static const uint32_t indexed[] = {200, 204, 206, 304, 400, 404, 500};
  if (stream->answered) return NULL; /* trailers */
  while (length > 0 && (block[0] & 0xe0) == 0x20) { /* a new size of the dynamic table */
    bool more = (block[0] & 0x1f) == 0x1f;
    do { block++; length--; } while (more && length > 0 && (block[0] & 0x80) != 0);
    if (more && length > 0) { block++; length--; }
  }
  if (length == 0) return "an answer without fields";
  if (block[0] != 0x88) return block[0] > 0x88 && block[0] <= 0x8e ? wrong(h2, "status", indexed[block[0] - 0x88]) : "a status that is not 200";
  stream->answered = true;
  return NULL;
}

static const char *take_settings(h2_t *h2, const uint8_t *at, size_t length) {
  for (; length >= 6; at += 6, length -= 6) {
    uint32_t value = number(at + 2);
    if (at[1] == 1 && value < 4096) h2->indexed = h2->named = h2->told = false;
    if (at[1] == 3 && value < (uint32_t)h2->allowed) h2->allowed = (int)value;
  }
  put_frame(h2, SETTINGS, ACK, 0, NULL, 0);
  h2->settled = true;
  return NULL;
}

static const char *take_frame(h2_t *h2, int type, int flags, uint32_t id, const uint8_t *payload, size_t length) {
  if (type == SETTINGS) return (flags & ACK) != 0 ? NULL : take_settings(h2, payload, length);
  if (type == GOAWAY) return length < 8 ? "a short GOAWAY" : wrong(h2, "GOAWAY", number(payload + 4));
  if (type == RST_STREAM) return length < 4 ? "a short RST_STREAM" : wrong(h2, "stream reset", number(payload));
  if (type == PING && (flags & ACK) == 0) put_frame(h2, PING, ACK, 0, payload, length);
  if (type != DATA && type != HEADERS) return NULL;

  if (type == DATA) h2->consumed += (uint32_t)length;
  if (h2->consumed > WINDOW / 2) {
    put_window(h2, h2->consumed);
    h2->consumed = 0;
  }
  stream_t *stream = slot(h2, id);
  if (id == 0 || stream->id != id) return "a frame for a stream that is not open";
  size_t before = (flags & PADDED) != 0 ? 1 : 0, after = before == 1 && length > 0 ? payload[0] : 0;
  if (type == HEADERS && (flags & PRIORITY) != 0) before += 5;
  if (before + after > length) return "more padding than frame";
  const char *why = (type == DATA ? take_data : take_fields)(h2, stream, payload + before, length - before - after);
  if (why != NULL) return why;
  return (flags & END_STREAM) != 0 ? end_stream(h2, stream) : NULL;
}

const char *h2_receive(h2_t *h2, const uint8_t *data, size_t length) {
  while (length > 0) {
    size_t wanted = FRAME_HEAD;
    if (h2->in_length >= FRAME_HEAD) wanted += (size_t)(number(h2->in) >> 8);
    if (wanted > sizeof h2->in) return "a frame that is too long";
    size_t taken = wanted - h2->in_length < length ? wanted - h2->in_length : length;
    memcpy(h2->in + h2->in_length, data, taken);
    h2->in_length += taken;
    data += taken;
    length -= taken;
    if (h2->in_length < FRAME_HEAD || h2->in_length < FRAME_HEAD + (size_t)(number(h2->in) >> 8)) continue;
    h2->in_length = 0;
    const char *why = take_frame(h2, h2->in[3], h2->in[4], number(h2->in + 5) & MAX_STREAM_ID, h2->in + FRAME_HEAD, number(h2->in) >> 8);
    if (why != NULL) return why;
  }
  return NULL;
}

const uint8_t *h2_output(const h2_t *h2, size_t *length) {
  *length = h2->out_length;
  return h2->out;
}

void h2_sent(h2_t *h2, size_t length) {
  memmove(h2->out, h2->out + length, h2->out_length - length);
  h2->out_length -= length;
}
