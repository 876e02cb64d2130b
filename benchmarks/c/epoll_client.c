// The limit that the Python client is compared with: the same streams, read by epoll in C.
//
// usage: epoll_client -p PORT [-n STREAMS] [-r REQUESTS_PER_STREAM] [-m MAX_TOKENS] [-w RAMP_S] [-k] [-b REQUEST_FILE]
//   -k  kernel receive stamps (SO_TIMESTAMPING) instead of a clock read after each recv
//   -w  the streams start evenly over so many seconds, so that their phases differ
//   -b  the whole bytes of the HTTP request to send (default: a streaming chat request for the simulator)
// One connection per stream, kept alive; one untimed warm-up request (1 token, where -b does not say otherwise) each.
// It reads the server's send stamps out of the chunks (see benchsuite/simulator/server.py) and prints one JSON object.
// CPU is user + sys of the timed window, less what the parsing after each response took.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/net_tstamp.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

typedef struct { int64_t ns; size_t end; } Read;  // the response's bytes up to `end` had come by then

typedef struct {
    int fd, left, warm, running;
    int64_t start_ns, sent_ns;
    char *buf; size_t len, cap;
    Read *reads; size_t n_reads, cap_reads;
} Stream;

typedef struct { double *at; size_t n, cap; } Sample;

static Sample gap_errors, ttft_errors, lags;
static int64_t n_chunks, n_reads, n_merged, n_ended, n_failed, parse_cpu_ns, offset_ns;
static int kernel_stamps, epfd;
static char *request, *warm_request;
static size_t request_len, warm_len;

static int64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// CLOCK_REALTIME less CLOCK_MONOTONIC: kernel stamps are the former, the server's the latter.
static int64_t realtime_offset_ns(void) {
    int64_t best = INT64_MAX, offset = 0;
    for (int i = 0; i < 50; i++) {
        int64_t a = clock_ns(CLOCK_MONOTONIC), w = clock_ns(CLOCK_REALTIME), b = clock_ns(CLOCK_MONOTONIC);
        if (b - a < best) best = b - a, offset = w - (a + b) / 2;
    }
    return offset;
}

static void add_ms(Sample *s, int64_t ns) {
    if (s->n == s->cap) s->at = realloc(s->at, (s->cap = s->cap ? 2 * s->cap : 4096) * sizeof *s->at);
    s->at[s->n++] = (double)llabs(ns) / 1e6;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_sample(const char *name, Sample *s) {
    if (!s->n) { printf(", \"%s\": null", name); return; }
    qsort(s->at, s->n, sizeof *s->at, by_value);
    double q[] = {0.5, 0.99, 0.999};
    double v[3];
    for (int i = 0; i < 3; i++) { size_t r = (size_t)(q[i] * (double)s->n); v[i] = s->at[r < s->n ? r : s->n - 1]; }
    printf(", \"%s\": {\"n\": %zu, \"p50\": %.6f, \"p99\": %.6f, \"p999\": %.6f, \"max\": %.6f}", name, s->n, v[0], v[1],
           v[2], s->at[s->n - 1]);
}

static int connect_to(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (connect(fd, (struct sockaddr *)&a, sizeof a)) { perror("connect"); exit(1); }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (kernel_stamps) {
        int flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags);
    }
    return fd;
}

static void send_request(Stream *s) {
    s->len = s->n_reads = 0;
    s->running = 1;
    s->sent_ns = clock_ns(CLOCK_MONOTONIC);
    size_t len = s->warm ? warm_len : request_len;
    // The request fits the send buffer of an idle loopback socket, so a short write is a failure here.
    if (send(s->fd, s->warm ? warm_request : request, len, MSG_NOSIGNAL) != (ssize_t)len) { perror("send"); exit(1); }
}

// Compare every token's arrival with the stamp it carries. The role event has no stamp worth having: it carries "".
static void parse(Stream *s) {
    static const char KEY[] = "\"system_fingerprint\":\"", ID[] = "\"id\":\"sim-";
    int64_t before_got = 0, before_sent = 0, received_ns = 0;
    size_t read = 0, in_read = SIZE_MAX;
    char *p = s->buf, *end = s->buf + s->len, *id = memmem(p, s->len, ID, sizeof ID - 1);
    if (!id) { n_failed++; return; }
    received_ns = atoll(id + sizeof ID - 1 + 9);
    while ((p = memmem(p, (size_t)(end - p), "data: {", 7))) {
        char *eol = memchr(p, '\n', (size_t)(end - p));
        if (!eol) break;
        char *key = memmem(p, (size_t)(eol - p), KEY, sizeof KEY - 1);
        int token = key && !memmem(p, (size_t)(eol - p), "\"choices\":[]", 12) &&
                    !memmem(p, (size_t)(eol - p), "\"content\":\"\"", 12);
        while (read < s->n_reads && s->reads[read].end < (size_t)(eol - s->buf)) read++;
        p = eol;
        if (!token || read == s->n_reads) continue;
        int64_t sent = atoll(key + sizeof KEY - 1), got = s->reads[read].ns;
        if (in_read == read) n_merged++;
        in_read = read;
        add_ms(&lags, got - sent);
        if (before_sent) add_ms(&gap_errors, (got - before_got) - (sent - before_sent));
        else add_ms(&ttft_errors, (got - s->sent_ns) - (sent - received_ns));
        before_got = got, before_sent = sent;
        n_chunks++;
    }
}

static int64_t stamp_of(struct msghdr *m) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPING) {
            struct timespec t[3];
            memcpy(t, CMSG_DATA(c), sizeof t);
            return t[0].tv_sec * 1000000000LL + t[0].tv_nsec - offset_ns;
        }
    return clock_ns(CLOCK_MONOTONIC);
}

// Returns 1 when the response is over.
static int receive(Stream *s) {
    if (s->cap - s->len < 65536) s->buf = realloc(s->buf, s->cap = 2 * s->cap + 65536);
    if (s->n_reads == s->cap_reads) s->reads = realloc(s->reads, (s->cap_reads = 2 * s->cap_reads + 64) * sizeof(Read));
    struct iovec iov = {s->buf + s->len, s->cap - s->len};
    char control[128];
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = kernel_stamps ? recvmsg(s->fd, &m, 0) : recv(s->fd, iov.iov_base, iov.iov_len, 0);
    int64_t ns = kernel_stamps && n > 0 ? stamp_of(&m) : clock_ns(CLOCK_MONOTONIC);
    if (n <= 0) { fprintf(stderr, "connection lost\n"); exit(1); }
    s->len += (size_t)n;
    s->reads[s->n_reads++] = (Read){ns, s->len};
    n_reads += !s->warm;
    return s->len >= 7 && !memcmp(s->buf + s->len - 7, "\r\n0\r\n\r\n", 7);
}

static char *read_file(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    char *data = malloc(1 << 20);
    if (!f || !data) { perror(path); exit(1); }
    *len = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

static char *build_request(int max_tokens, size_t *len) {
    char body[256], *data;
    int n = snprintf(body, sizeof body,
                     "{\"model\":\"simulator\",\"messages\":[{\"role\":\"user\",\"content\":\"hello there\"}],"
                     "\"max_tokens\":%d,\"stream\":true,\"stream_options\":{\"include_usage\":true}}", max_tokens);
    *len = (size_t)asprintf(&data, "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
                            "content-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body);
    return data;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

// Drives every stream until its requests are used up.
static void drive(Stream *streams, int n) {
    struct epoll_event events[512];
    int live = n, next = 0;
    while (live) {
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        while (next < n && streams[next].start_ns <= now) send_request(&streams[next++]);
        int wait_ms = next < n ? (int)((streams[next].start_ns - now) / 1000000) : 10000;
        int got = epoll_wait(epfd, events, 512, wait_ms);
        for (int i = 0; i < got; i++) {
            Stream *s = events[i].data.ptr;
            if (!receive(s)) continue;
            if (!s->warm) {
                int64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
                parse(s);
                parse_cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
                n_ended++;
            }
            s->running = 0;
            if (--s->left > 0) send_request(s);
            else live--;
        }
        if (!got && next == n) { fprintf(stderr, "10 s of silence\n"); exit(1); }
    }
}

int main(int argc, char **argv) {
    int port = 0, n = 128, requests = 2, max_tokens = 100, opt;
    double ramp_s = 1.0;
    const char *file = NULL;
    while ((opt = getopt(argc, argv, "p:n:r:m:w:kb:")) != -1) switch (opt) {
        case 'p': port = atoi(optarg); break;
        case 'n': n = atoi(optarg); break;
        case 'r': requests = atoi(optarg); break;
        case 'm': max_tokens = atoi(optarg); break;
        case 'w': ramp_s = atof(optarg); break;
        case 'k': kernel_stamps = 1; break;
        case 'b': file = optarg; break;
        default: return 2;
    }
    if (!port || n < 1 || requests < 1) { fprintf(stderr, "usage: see the head of %s\n", __FILE__); return 2; }
    struct rlimit lim;
    getrlimit(RLIMIT_NOFILE, &lim);
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
    request = file ? read_file(file, &request_len) : build_request(max_tokens, &request_len);
    warm_request = file ? request : build_request(1, &warm_len);
    if (file) warm_len = request_len;
    offset_ns = realtime_offset_ns();
    epfd = epoll_create1(0);
    Stream *streams = calloc((size_t)n, sizeof *streams);
    for (int i = 0; i < n; i++) {
        streams[i].fd = connect_to(port);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &streams[i]};
        epoll_ctl(epfd, EPOLL_CTL_ADD, streams[i].fd, &e);
        streams[i].left = streams[i].warm = 1;
    }
    drive(streams, n);
    int64_t begin = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < n; i++) {
        streams[i].warm = 0, streams[i].left = requests;
        streams[i].start_ns = begin + (int64_t)(ramp_s * 1e9 * i / n);
    }
    double cpu_before = cpu_s();
    drive(streams, n);
    double wall = (double)(clock_ns(CLOCK_MONOTONIC) - begin) / 1e9, parse = (double)parse_cpu_ns / 1e9;
    double cpu = cpu_s() - cpu_before - parse, chunks = (double)(n_chunks ? n_chunks : 1);
    printf("{\"streams\": %d, \"requests\": %ld, \"failed\": %ld, \"chunks\": %ld, \"reads\": %ld, \"merged_chunks\": %ld",
           n, (long)n_ended, (long)n_failed, (long)n_chunks, (long)n_reads, (long)n_merged);
    printf(", \"stamps\": \"%s\", \"wall_s\": %.6f, \"chunks_per_s\": %.1f", kernel_stamps ? "kernel" : "user", wall,
           (double)n_chunks / wall);
    printf(", \"cpu_us_per_chunk\": %.3f, \"parse_us_per_chunk\": %.3f", cpu * 1e6 / chunks, parse * 1e6 / chunks);
    print_sample("lag_ms", &lags);
    print_sample("gap_error_ms", &gap_errors);
    print_sample("ttft_error_ms", &ttft_errors);
    puts("}");
    return n_failed ? 1 : 0;
}
