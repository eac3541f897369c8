/*
 * A closed-loop load generator over mutual TLS for the side-by-side: N connections, each with one thing under way.
 *
 *   requests    kept-alive GETs; connections and their first requests are made before the clock starts. Over HTTP/2 each connection
 *               has so many streams under way
 *   handshakes  connect, handshake, close; full or resumed
 *   idle        connections that each ask once and then stay, then ask once more; so many are opened, or ask, at a time
 *
 * Prints "ready", then for each line on stdin works and prints one line of JSON. Loopback only. Built by load.ts.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include "load-h2.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { READ_MAX = 65536, HEAD_MAX = READ_MAX + 16384, READ_AHEAD = 262144 };

typedef enum { REQUESTS, HANDSHAKES, IDLING } activity_t;
typedef enum { IDLE, CONNECTING, HANDSHAKING, WAITING_TICKET, READY, ANSWERING, CLOSING, DEAD } state_t;

typedef struct {
  int fd;
  SSL *ssl;
  /* As DER: OpenSSL holds a TLS 1.3 session object to one use, servers with stateless tickets do not. */
  unsigned char *session;
  int session_length;
  bool ticket;
  state_t state;
  uint32_t source; /* address */
  uint32_t watched;
  double started;
  int prelude; /* requests or handshakes still to begin before the clock starts */
  h2_t *h2;
  char head[HEAD_MAX];
  size_t head_length;
  long body_left; /* -1 while the head is being read */
} connection_t;

static struct {
  activity_t activity;
  bool resume, tls13, http2;
  int port, connections;
  int streams; /* at a time on a connection, HTTP/2 */
  int window;  /* connections under way at a time, while idle ones are opened or ask */
  long count;
  double deadline; /* seconds for all of it */
  const char *cert, *key, *server_name, *expect;
  int prelude; /* requests on each connection, or stream of it, before the clock starts */
  bool rsa;
  char request[2048];
  size_t request_length;
} options = {.connections = 64, .streams = 1, .window = 64, .count = 1000, .deadline = 60, .server_name = "localhost", .prelude = 2, .tls13 = true};

static SSL_CTX *context;
static h2_options_t http2;
static connection_t *connections;
static int busy; /* connections with something under way */
static int next_up; /* the first of the idle ones that has not been opened, or asked, yet */
static int epoll_fd;
static uint32_t *latencies; /* microseconds */
static long begun, finished, failed, resumed_count, bytes_read;
static bool measuring;
static char protocol[16] = "", cipher[64] = "", first_error[256] = "";
static const char *server_key = "";
/* What every body must be, to the octet; NULL: any of the announced length. */
static const char *expected;
static long expected_length = -1;
/* HTTP/2 streams that the server allows at a time. */
static int streams_allowed = 0;
static const char *http = "";
static char scratch[READ_MAX];

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void die(const char *what) {
  fprintf(stderr, "load: %s\n", what);
  ERR_print_errors_fp(stderr);
  exit(2);
}

static int on_session(SSL *ssl, SSL_SESSION *session) {
  connection_t *c = SSL_get_app_data(ssl);
  c->ticket = true;
  if (!options.resume || c->session != NULL) return 0;
  c->session_length = i2d_SSL_SESSION(session, &c->session);
  return 0;
}

static void make_context(void) {
  context = SSL_CTX_new(TLS_client_method());
  if (context == NULL) die("no TLS context");
  int version = options.tls13 ? TLS1_3_VERSION : TLS1_2_VERSION;
  SSL_CTX_set_min_proto_version(context, version);
  SSL_CTX_set_max_proto_version(context, version);
  /* One suite and one key exchange, so that every server does the same arithmetic; in TLS 1.2 the list also bounds the curves of certificates. */
  SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384");
  SSL_CTX_set_cipher_list(context, "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384");
  if (SSL_CTX_set1_groups_list(context, "X25519:P-256") != 1) die("no X25519");
  /* The server's certificate is chosen by the signatures we take; ours is always ECDSA. */
  const char *taken = options.rsa ? "RSA-PSS+SHA256:RSA+SHA256" : "ECDSA+SHA256";
  if (SSL_CTX_set1_sigalgs_list(context, taken) != 1) die("sigalgs");
  if (SSL_CTX_set1_client_sigalgs_list(context, "ECDSA+SHA256") != 1) die("client sigalgs");
  /* Loopback, and the generator's time is not what is measured. */
  SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
  if (SSL_CTX_use_certificate_chain_file(context, options.cert) != 1) die("certificate");
  if (SSL_CTX_use_PrivateKey_file(context, options.key, SSL_FILETYPE_PEM) != 1) die("key");
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, on_session);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (options.activity == IDLING) SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  const unsigned char protocols[] = "\x02h2\x08http/1.1";
  if (options.http2 && SSL_CTX_set_alpn_protos(context, protocols, sizeof protocols - 1) != 0) die("ALPN");
  if (options.expect != NULL) {
    /* Several records a read(): a generator that is slower than the servers would measure their queues. */
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD);
  }
}

static void map_expected(void) {
  struct stat about;
  int fd = open(options.expect, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &about) != 0 || about.st_size == 0) die("the file of the expected body");
  expected_length = about.st_size;
  expected = mmap(NULL, (size_t)expected_length, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  if (expected == MAP_FAILED) die("mmap");
  close(fd);
}

static void watch(connection_t *c, uint32_t events, int operation) {
  if (operation == EPOLL_CTL_MOD && c->watched == events) return;
  c->watched = events;
  struct epoll_event event = {.events = events, .data.ptr = c};
  if (epoll_ctl(epoll_fd, operation, c->fd, &event) != 0) die("epoll_ctl");
}

static bool is_busy(state_t state) {
  return state != IDLE && state != READY && state != DEAD;
}

static void enter(connection_t *c, state_t state) {
  busy += is_busy(state) - is_busy(c->state);
  c->state = state;
}

static void drop(connection_t *c) {
  if (c->ssl != NULL) SSL_free(c->ssl);
  if (c->fd >= 0) close(c->fd);
  h2_close(c->h2);
  c->h2 = NULL;
  c->ssl = NULL;
  c->fd = -1;
}

/* A failure ends its connection for good: the run goes on with the others and says how many failed. */
static void fail(connection_t *c, const char *why) {
  if (first_error[0] == 0) {
    char reason[160] = "";
    unsigned long code = ERR_peek_error();
    if (code != 0) ERR_error_string_n(code, reason, sizeof reason);
    snprintf(first_error, sizeof first_error, "%s %s", why, reason);
    for (char *p = first_error; *p != 0; p++) if (*p == '"' || *p == '\\' || *p < 32) *p = ' ';
  }
  ERR_clear_error();
  failed++;
  drop(c);
  enter(c, DEAD);
}

static void start_connection(connection_t *c) {
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  int one = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(c->source)};
  setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  if (c->source != INADDR_LOOPBACK && bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0) die("bind");
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  c->started = now();
  c->ticket = false;
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) return fail(c, "connect");
  c->ssl = SSL_new(context);
  SSL_set_app_data(c->ssl, c);
  SSL_set_fd(c->ssl, c->fd);
  SSL_set_tlsext_host_name(c->ssl, options.server_name);
  if (options.resume && c->session != NULL) {
    const unsigned char *from = c->session;
    SSL_SESSION *session = d2i_SSL_SESSION(NULL, &from, c->session_length);
    SSL_set_session(c->ssl, session);
    SSL_SESSION_free(session);
  }
  SSL_set_connect_state(c->ssl);
  enter(c, CONNECTING);
  watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void note_parameters(connection_t *c) {
  if (protocol[0] != 0) return;
  snprintf(protocol, sizeof protocol, "%s", SSL_get_version(c->ssl));
  snprintf(cipher, sizeof cipher, "%s", SSL_get_cipher_name(c->ssl));
  X509 *leaf = SSL_get0_peer_certificate(c->ssl);
  EVP_PKEY *key = leaf == NULL ? NULL : X509_get0_pubkey(leaf);
  if (key != NULL) server_key = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA ? "RSA" : "EC";
}

static void count_latency(double started) {
  if (!measuring) return;
  double micros = (now() - started) * 1e6;
  latencies[finished++] = micros > UINT32_MAX ? UINT32_MAX : (uint32_t)micros;
}

/* Whether there is another one to begin on this connection now. */
static bool may_begin(connection_t *c) {
  if (!measuring) return c->prelude-- > 0;
  if (begun >= options.count) return false;
  begun++;
  return true;
}

static void send_request(connection_t *c) {
  c->head_length = 0;
  c->body_left = -1;
  c->started = now();
  /* A request fits a socket buffer that holds nothing else. */
  if (SSL_write(c->ssl, options.request, (int)options.request_length) != (int)options.request_length) return fail(c, "write");
  enter(c, ANSWERING);
}

static void next_request(connection_t *c) {
  enter(c, READY);
  if (options.activity == REQUESTS && may_begin(c)) send_request(c);
}

static void answer_ended(connection_t *c) {
  count_latency(c->started);
  next_request(c);
}

static void take_body(connection_t *c, const char *data, long length) {
  if (length > c->body_left) return fail(c, "more octets than the answer has");
  if (expected != NULL && memcmp(expected + (expected_length - c->body_left), data, (size_t)length) != 0) return fail(c, "another body than expected");
  c->body_left -= length;
  if (c->body_left == 0) answer_ended(c);
}

static void read_head(connection_t *c, const char *data, size_t length) {
  if (c->head_length + length > HEAD_MAX - 1) return fail(c, "head too long");
  memcpy(c->head + c->head_length, data, length);
  c->head_length += length;
  c->head[c->head_length] = 0;
  char *end = strstr(c->head, "\r\n\r\n");
  if (end == NULL) return;
  size_t body = c->head_length - (size_t)(end + 4 - c->head);
  *end = 0;
  if (strncmp(c->head, "HTTP/1.1 200", 12) != 0) {
    char why[64];
    snprintf(why, sizeof why, "status %.12s", c->head + 9);
    return fail(c, why);
  }
  char *field = strcasestr(c->head, "\r\ncontent-length:");
  if (field == NULL) return fail(c, "no Content-Length");
  c->body_left = strtol(field + 17, NULL, 10);
  if (expected_length >= 0 && c->body_left != expected_length) return fail(c, "another length than expected");
  take_body(c, end + 4, (long)body);
}

static void read_answer(connection_t *c) {
  while (c->state == ANSWERING) {
    int got = SSL_read(c->ssl, scratch, sizeof scratch);
    if (got <= 0) {
      if (SSL_get_error(c->ssl, got) == SSL_ERROR_WANT_READ) return;
      return fail(c, "connection lost within an answer");
    }
    bytes_read += got;
    if (c->body_left < 0) read_head(c, scratch, (size_t)got);
    else take_body(c, scratch, got);
    /* With reading ahead there may be more records at hand, which epoll knows nothing of. */
    if (c->state != ANSWERING || (expected == NULL && SSL_pending(c->ssl) == 0)) return;
  }
}

/* Sends what HTTP/2 has for the server; false when that ended the connection. */
static bool flush_h2(connection_t *c) {
  for (;;) {
    size_t length;
    const uint8_t *data = h2_output(c->h2, &length);
    if (length == 0) break;
    int sent = SSL_write(c->ssl, data, (int)length);
    if (sent > 0) { h2_sent(c->h2, (size_t)sent); continue; }
    if (SSL_get_error(c->ssl, sent) != SSL_ERROR_WANT_WRITE) return fail(c, "write"), false;
    watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    return true;
  }
  watch(c, EPOLLIN, EPOLL_CTL_MOD);
  return true;
}

static void ask_h2(connection_t *c) {
  while (h2_room(c->h2) > 0 && may_begin(c)) h2_ask(c->h2, now());
  enter(c, h2_busy(c->h2) ? ANSWERING : READY);
  flush_h2(c);
}

static void h2_answered(void *owner, double asked) {
  (void)owner;
  count_latency(asked);
}

static void read_h2(connection_t *c) {
  for (;;) {
    int got = SSL_read(c->ssl, scratch, sizeof scratch);
    if (got <= 0) {
      if (SSL_get_error(c->ssl, got) == SSL_ERROR_WANT_READ) break;
      return fail(c, c->state == READY ? "closed while idle" : "connection lost within an answer");
    }
    bytes_read += got;
    const char *wrong = h2_receive(c->h2, (const uint8_t *)scratch, (size_t)got);
    if (wrong != NULL) return fail(c, wrong);
  }
  int allowed = h2_streams(c->h2);
  if (streams_allowed == 0 || allowed < streams_allowed) streams_allowed = allowed;
  ask_h2(c);
}

static void begin_h2(connection_t *c) {
  c->h2 = h2_open(&http2, c);
  if (c->h2 == NULL) die("memory");
  c->prelude *= options.streams;
  enter(c, ANSWERING);
  flush_h2(c);
}

static void begin_requests(connection_t *c) {
  if (options.activity == IDLING) return send_request(c);
  if (!options.http2) return next_request(c);
  const unsigned char *name;
  unsigned length;
  SSL_get0_alpn_selected(c->ssl, &name, &length);
  http = length == 2 && memcmp(name, "h2", 2) == 0 ? "h2" : "http/1.1";
  if (strcmp(http, "h2") != 0) return fail(c, "negotiated http/1.1");
  begin_h2(c);
}

static void begin_close(connection_t *c) {
  SSL_shutdown(c->ssl);
  shutdown(c->fd, SHUT_WR);
  enter(c, CLOSING);
}

static void handshake_counted(connection_t *c) {
  count_latency(c->started);
  if (measuring && SSL_session_reused(c->ssl)) resumed_count++;
  begin_close(c);
}

static void handshake_done(connection_t *c) {
  note_parameters(c);
  watch(c, EPOLLIN, EPOLL_CTL_MOD);
  if (options.activity != HANDSHAKES) return begin_requests(c);
  /*
   * In TLS 1.3 the client is done before the server has seen its certificate; the ticket says that it has. A resumption shows
   * none, and not every server sends a new ticket then.
   */
  if (options.tls13 && !c->ticket && !SSL_session_reused(c->ssl)) enter(c, WAITING_TICKET);
  else handshake_counted(c);
}

static void shake(connection_t *c) {
  int result = SSL_do_handshake(c->ssl);
  if (result == 1) return handshake_done(c);
  switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_WANT_READ: return watch(c, EPOLLIN, EPOLL_CTL_MOD);
    case SSL_ERROR_WANT_WRITE: return watch(c, EPOLLOUT, EPOLL_CTL_MOD);
    default: return fail(c, "handshake");
  }
}

static void wait_for_ticket(connection_t *c) {
  int got = SSL_read(c->ssl, scratch, sizeof scratch);
  if (c->ticket) return handshake_counted(c);
  if (got > 0 || SSL_get_error(c->ssl, got) != SSL_ERROR_WANT_READ) fail(c, "no ticket");
}

static void wait_for_end(connection_t *c) {
  ssize_t got = read(c->fd, scratch, sizeof scratch);
  if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) return;
  drop(c);
  enter(c, IDLE);
}

/* Tickets, or the server has closed a connection that asks nothing. */
static void read_nothing(connection_t *c) {
  int got = SSL_read(c->ssl, scratch, sizeof scratch);
  if (got > 0 || SSL_get_error(c->ssl, got) != SSL_ERROR_WANT_READ) fail(c, "closed while idle");
}

static void advance(connection_t *c) {
  switch (c->state) {
    case CONNECTING:
      enter(c, HANDSHAKING);
      /* fall through */
    case HANDSHAKING: shake(c); break;
    case WAITING_TICKET: wait_for_ticket(c); break;
    case ANSWERING:
      if (c->h2 == NULL) read_answer(c);
      else if (flush_h2(c)) read_h2(c);
      break;
    case CLOSING: wait_for_end(c); break;
    case READY:
      if (c->h2 == NULL) read_nothing(c);
      else read_h2(c);
      break;
    default: break;
  }
  if (c->state == IDLE && options.activity == HANDSHAKES && may_begin(c)) start_connection(c);
}

static void take_events(int wait_ms) {
  struct epoll_event events[256];
  int ready = epoll_wait(epoll_fd, events, 256, wait_ms);
  for (int i = 0; i < ready; i++) advance(events[i].data.ptr);
}

/* Opens idle connections, or lets them ask, as many at a time as the window has room for. */
static void take_up(void) {
  for (; busy < options.window && next_up < options.connections; next_up++) {
    connection_t *c = &connections[next_up];
    if (c->state == IDLE) start_connection(c);
    else if (c->state == READY) send_request(c);
  }
}

/* Runs until every connection is at rest: nothing under way, nothing left to begin. */
static void run(double until) {
  for (;;) {
    if (options.activity == IDLING && measuring) take_up();
    if (busy == 0) return;
    if (now() > until) {
      if (first_error[0] == 0) snprintf(first_error, sizeof first_error, "not done in time");
      for (int i = 0; i < options.connections; i++) if (is_busy(connections[i].state)) fail(&connections[i], "late");
      return;
    }
    take_events(1000);
  }
}

/* Waits for a line on stdin, and meanwhile for connections that are closed on us. */
static bool told_to_go(void) {
  for (;;) {
    struct pollfd both[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = epoll_fd, .events = POLLIN}};
    if (poll(both, 2, -1) < 0 && errno != EINTR) die("poll");
    if (both[1].revents != 0) take_events(0);
    char line[16];
    if (both[0].revents != 0) return fgets(line, sizeof line, stdin) != NULL;
  }
}

static void begin(connection_t *c) {
  if (c->state == DEAD || options.activity == IDLING) return;
  if (c->h2 != NULL) return ask_h2(c);
  if (!may_begin(c)) return;
  if (options.activity == HANDSHAKES) start_connection(c);
  else send_request(c);
}

static int open_connections(void) {
  int open = 0;
  for (int i = 0; i < options.connections; i++) open += connections[i].fd >= 0;
  return open;
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static uint32_t percentile(double share) {
  if (finished == 0) return 0;
  long index = (long)(share * (double)finished);
  return latencies[index >= finished ? finished - 1 : index];
}

static double cpu_seconds(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void read_options(int argc, char **argv) {
  const char *path = "/";
  for (int i = 1; i < argc; i++) {
    char *value = strchr(argv[i], '=');
    if (value == NULL) die("options are name=value");
    *value++ = 0;
    const char *name = argv[i];
    if (strcmp(name, "mode") == 0) options.activity = strcmp(value, "handshakes") == 0 ? HANDSHAKES : strcmp(value, "idle") == 0 ? IDLING : REQUESTS;
    else if (strcmp(name, "port") == 0) options.port = atoi(value);
    else if (strcmp(name, "connections") == 0) options.connections = atoi(value);
    else if (strcmp(name, "count") == 0) options.count = atol(value);
    else if (strcmp(name, "deadline") == 0) options.deadline = atof(value);
    else if (strcmp(name, "certificate") == 0) options.cert = value;
    else if (strcmp(name, "key") == 0) options.key = value;
    else if (strcmp(name, "path") == 0) path = value;
    else if (strcmp(name, "expect") == 0) options.expect = value;
    else if (strcmp(name, "length") == 0) expected_length = atol(value);
    else if (strcmp(name, "prelude") == 0) options.prelude = atoi(value);
    else if (strcmp(name, "http") == 0) options.http2 = strcmp(value, "2") == 0;
    else if (strcmp(name, "streams") == 0) options.streams = atoi(value);
    else if (strcmp(name, "window") == 0) options.window = atoi(value);
    else if (strcmp(name, "server_name") == 0) options.server_name = value;
    else if (strcmp(name, "tls") == 0) options.tls13 = strcmp(value, "1.3") == 0;
    else if (strcmp(name, "server_key") == 0) options.rsa = strcmp(value, "rsa") == 0;
    else if (strcmp(name, "resume") == 0) options.resume = strcmp(value, "yes") == 0;
    else die("unknown option");
  }
  if (options.activity == IDLING) options.count = options.connections;
  if (options.port == 0 || options.cert == NULL || options.key == NULL || options.connections < 1 || options.count < 1) die("port, certificate, key, connections and count are needed");
  options.request_length = (size_t)snprintf(options.request, sizeof options.request,
    "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n", path, options.server_name);
  http2.authority = options.server_name;
  http2.path = path;
}

static void print_results(double seconds, double cpu, long failed_before) {
  qsort(latencies, (size_t)finished, sizeof *latencies, by_size);
  printf("{\"finished\":%ld,\"failed\":%ld,\"preludeFailed\":%ld,\"error\":\"%s\",\"seconds\":%.6f,\"cpuSeconds\":%.6f,\"bytes\":%ld,"
    "\"p50\":%u,\"p95\":%u,\"p99\":%u,\"max\":%u,\"protocol\":\"%s\",\"cipher\":\"%s\",\"serverKey\":\"%s\",\"resumed\":%ld,"
    "\"http\":\"%s\",\"streams\":%d,\"open\":%d}\n",
    finished, failed - failed_before, failed_before, first_error, seconds, cpu, bytes_read,
    percentile(0.5), percentile(0.95), percentile(0.99), finished > 0 ? latencies[finished - 1] : 0, protocol, cipher, server_key, resumed_count,
    http, streams_allowed, open_connections());
  fflush(stdout);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  read_options(argc, argv);
  make_context();
  if (options.expect != NULL) map_expected();
  http2.expected = expected;
  http2.expected_length = expected_length;
  http2.streams = options.streams;
  http2.answered = h2_answered;
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  connections = calloc((size_t)options.connections, sizeof *connections);
  latencies = calloc((size_t)options.count + 1, sizeof *latencies);
  if (connections == NULL || latencies == NULL) die("memory");

  double until = now() + options.deadline;
  for (int i = 0; i < options.connections; i++) {
    connection_t *c = &connections[i];
    c->fd = -1;
    /* Idle ones are many: one address would run out of ports. */
    c->source = INADDR_LOOPBACK + (options.activity == IDLING ? (uint32_t)(i % 4) : 0);
    /* Upstream connections exist, and sessions to resume are at hand, before the clock starts. */
    c->prelude = options.activity == REQUESTS ? options.prelude : options.resume ? 1 : 0;
    if (options.activity == REQUESTS || (options.resume && may_begin(c))) start_connection(c);
  }
  run(until);
  printf("ready\n");
  fflush(stdout);
  while (told_to_go()) {
    double cpu_before = cpu_seconds(), from = now();
    long failed_before = failed;
    bytes_read = begun = finished = next_up = 0;
    measuring = true;
    for (int i = 0; i < options.connections; i++) begin(&connections[i]);
    run(from + options.deadline);
    print_results(now() - from, cpu_seconds() - cpu_before, failed_before);
  }
  return 0;
}
