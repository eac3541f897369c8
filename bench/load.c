/*
 * A closed-loop load generator over mutual TLS for the side-by-side: N connections, each with one thing under way.
 *
 *   requests    kept-alive GETs; connections and their first requests are made before the clock starts
 *   handshakes  connect, handshake, close; full or resumed
 *
 * Prints "ready", waits for a line on stdin, works, prints one line of JSON. Loopback only. Built by load.ts.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
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

typedef enum { IDLE, CONNECTING, HANDSHAKING, WAITING_TICKET, READY, ANSWERING, CLOSING, DEAD } state_t;

typedef struct {
  int fd;
  SSL *ssl;
  /* As DER: OpenSSL holds a TLS 1.3 session object to one use, servers with stateless tickets do not. */
  unsigned char *session;
  int session_length;
  bool ticket;
  state_t state;
  double started;
  int prelude; /* requests or handshakes still to do before the clock starts */
  char head[HEAD_MAX];
  size_t head_length;
  long body_left; /* -1 while the head is being read */
} connection_t;

static struct {
  bool handshakes, resume, tls13;
  int port, connections;
  long count;
  double deadline; /* seconds for all of it */
  const char *cert, *key, *server_name, *expect;
  int prelude; /* requests on each connection before the clock starts */
  bool rsa;
  char request[2048];
  size_t request_length;
} options = {.connections = 64, .count = 1000, .deadline = 60, .server_name = "localhost", .prelude = 2, .tls13 = true};

static SSL_CTX *context;
static connection_t *connections;
static int epoll_fd;
static uint32_t *latencies; /* microseconds */
static long begun, finished, failed, resumed_count, bytes_read;
static bool measuring;
static char protocol[16] = "", cipher[64] = "", first_error[256] = "";
static const char *server_key = "";
/* What every body must be, to the octet; NULL: any of the announced length. */
static const char *expected;
static long expected_length;
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
  struct epoll_event event = {.events = events, .data.ptr = c};
  if (epoll_ctl(epoll_fd, operation, c->fd, &event) != 0) die("epoll_ctl");
}

static void drop(connection_t *c) {
  if (c->ssl != NULL) SSL_free(c->ssl);
  if (c->fd >= 0) close(c->fd);
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
  c->state = DEAD;
}

static void start_connection(connection_t *c) {
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  int one = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
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
  c->state = CONNECTING;
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

static void count_latency(connection_t *c) {
  double micros = (now() - c->started) * 1e6;
  latencies[finished++] = micros > UINT32_MAX ? UINT32_MAX : (uint32_t)micros;
}

/* Whether there is another one to begin on this connection now. */
static bool may_begin(connection_t *c) {
  if (c->prelude > 0) return true;
  if (!measuring || begun >= options.count) return false;
  begun++;
  return true;
}

static void send_request(connection_t *c) {
  c->head_length = 0;
  c->body_left = -1;
  c->started = now();
  /* A request fits a socket buffer that holds nothing else. */
  if (SSL_write(c->ssl, options.request, (int)options.request_length) != (int)options.request_length) return fail(c, "write");
  c->state = ANSWERING;
}

static void next_request(connection_t *c) {
  c->state = READY;
  if (may_begin(c)) send_request(c);
}

static void answer_ended(connection_t *c) {
  if (c->prelude > 0) c->prelude--;
  else count_latency(c);
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
  if (expected != NULL && c->body_left != expected_length) return fail(c, "another length than expected");
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

static void begin_close(connection_t *c) {
  SSL_shutdown(c->ssl);
  shutdown(c->fd, SHUT_WR);
  c->state = CLOSING;
}

static void handshake_counted(connection_t *c) {
  if (c->prelude > 0) {
    c->prelude--;
  } else {
    count_latency(c);
    if (SSL_session_reused(c->ssl)) resumed_count++;
  }
  begin_close(c);
}

static void handshake_done(connection_t *c) {
  note_parameters(c);
  watch(c, EPOLLIN, EPOLL_CTL_MOD);
  if (!options.handshakes) return next_request(c);
  /*
   * In TLS 1.3 the client is done before the server has seen its certificate; the ticket says that it has. A resumption shows
   * none, and not every server sends a new ticket then.
   */
  if (options.tls13 && !c->ticket && !SSL_session_reused(c->ssl)) c->state = WAITING_TICKET;
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
  c->state = IDLE;
}

static void advance(connection_t *c) {
  switch (c->state) {
    case CONNECTING:
      c->state = HANDSHAKING;
      /* fall through */
    case HANDSHAKING: shake(c); break;
    case WAITING_TICKET: wait_for_ticket(c); break;
    case ANSWERING: read_answer(c); break;
    case CLOSING: wait_for_end(c); break;
    case READY: /* tickets, or the server has closed an idle connection */
      if (SSL_read(c->ssl, scratch, sizeof scratch) <= 0 && SSL_get_error(c->ssl, 0) == SSL_ERROR_ZERO_RETURN) fail(c, "closed while idle");
      break;
    default: break;
  }
  if (c->state == IDLE && options.handshakes && may_begin(c)) start_connection(c);
}

/* Runs until every connection is at rest: nothing under way, nothing left to begin. */
static void run(double until) {
  struct epoll_event events[256];
  for (;;) {
    bool busy = false;
    for (int i = 0; i < options.connections && !busy; i++) {
      state_t state = connections[i].state;
      busy = state != IDLE && state != READY && state != DEAD;
    }
    if (!busy) return;
    if (now() > until) {
      if (first_error[0] == 0) snprintf(first_error, sizeof first_error, "not done in time");
      for (int i = 0; i < options.connections; i++) if (connections[i].state != IDLE && connections[i].state != READY && connections[i].state != DEAD) fail(&connections[i], "late");
      return;
    }
    int ready = epoll_wait(epoll_fd, events, 256, 1000);
    for (int i = 0; i < ready; i++) advance(events[i].data.ptr);
  }
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
    if (strcmp(name, "mode") == 0) options.handshakes = strcmp(value, "handshakes") == 0;
    else if (strcmp(name, "port") == 0) options.port = atoi(value);
    else if (strcmp(name, "connections") == 0) options.connections = atoi(value);
    else if (strcmp(name, "count") == 0) options.count = atol(value);
    else if (strcmp(name, "deadline") == 0) options.deadline = atof(value);
    else if (strcmp(name, "certificate") == 0) options.cert = value;
    else if (strcmp(name, "key") == 0) options.key = value;
    else if (strcmp(name, "path") == 0) path = value;
    else if (strcmp(name, "expect") == 0) options.expect = value;
    else if (strcmp(name, "prelude") == 0) options.prelude = atoi(value);
    else if (strcmp(name, "tls") == 0) options.tls13 = strcmp(value, "1.3") == 0;
    else if (strcmp(name, "server_key") == 0) options.rsa = strcmp(value, "rsa") == 0;
    else if (strcmp(name, "resume") == 0) options.resume = strcmp(value, "yes") == 0;
    else die("unknown option");
  }
  if (options.port == 0 || options.cert == NULL || options.key == NULL || options.connections < 1 || options.count < 1) die("port, certificate, key, connections and count are needed");
  options.request_length = (size_t)snprintf(options.request, sizeof options.request,
    "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n", path, options.server_name);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  read_options(argc, argv);
  make_context();
  if (options.expect != NULL) map_expected();
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  connections = calloc((size_t)options.connections, sizeof *connections);
  latencies = calloc((size_t)options.count + 1, sizeof *latencies);
  if (connections == NULL || latencies == NULL) die("memory");

  double until = now() + options.deadline;
  for (int i = 0; i < options.connections; i++) {
    connection_t *c = &connections[i];
    c->fd = -1;
    /* Upstream connections exist, and sessions to resume are at hand, before the clock starts. */
    c->prelude = !options.handshakes ? options.prelude : options.resume ? 1 : 0;
    if (!options.handshakes || options.resume) start_connection(c);
  }
  run(until);
  long prelude_failed = failed;
  printf("ready\n");
  fflush(stdout);
  char line[16];
  if (fgets(line, sizeof line, stdin) == NULL) return 1;

  double cpu_before = cpu_seconds(), from = now();
  bytes_read = 0;
  until = from + options.deadline;
  measuring = true;
  for (int i = 0; i < options.connections; i++) {
    connection_t *c = &connections[i];
    if (c->state == DEAD || !may_begin(c)) continue;
    if (options.handshakes) start_connection(c);
    else send_request(c);
  }
  run(until);
  double seconds = now() - from;
  qsort(latencies, (size_t)finished, sizeof *latencies, by_size);
  printf("{\"finished\":%ld,\"failed\":%ld,\"preludeFailed\":%ld,\"error\":\"%s\",\"seconds\":%.6f,\"cpuSeconds\":%.6f,\"bytes\":%ld,"
    "\"p50\":%u,\"p95\":%u,\"p99\":%u,\"max\":%u,\"protocol\":\"%s\",\"cipher\":\"%s\",\"serverKey\":\"%s\",\"resumed\":%ld}\n",
    finished, failed - prelude_failed, prelude_failed, first_error, seconds, cpu_seconds() - cpu_before, bytes_read,
    percentile(0.5), percentile(0.95), percentile(0.99), finished > 0 ? latencies[finished - 1] : 0, protocol, cipher, server_key, resumed_count);
  return 0;
}
