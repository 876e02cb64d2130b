// A reference server for ceilings: the paced mode and the wire of benchsuite/simulator/server.py, in C.
//
// usage: paced_server [-p PORT] [-t TTFT_S] [-d ITL_S] [-s]          prints {"port": N}, serves 127.0.0.1 until killed
//   -s  streams step together: the first chunk waits for the next multiple of ITL_S of CLOCK_MONOTONIC
// A POST gets a streamed chat answer of max_tokens (or max_completion_tokens; 16) events, one send() each, chunk i due
// at received + TTFT + i*ITL; headers at once, role event with the first token, then usage and [DONE] in one write.
// Headers x-sim-ttft-s, x-sim-itl-s and x-sim-synchronized: true|false go before the flags. Any GET is answered with 200.
// What it does not have: non-streaming, faults, metrics, the batch engine. Prompt tokens are always given as 1.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SPIN_NS = 50000, BURST = 16, POLL_EVERY_NS = 200000, STAMP = 19 };

typedef struct Conn {
    int fd, streaming, queued, blocked;
    char in[65536]; size_t in_len;
    char first[1024], middle[512], last[512]; int first_len, middle_len, last_len;  // HTTP chunks with stamp holes
    int first_at[2], middle_at, last_at;
    char tail[2048]; int tail_len;
    char rest[4096]; int rest_len;   // what a full socket did not take
    int tokens, sent; int64_t first_ns, itl_ns;
} Conn;

typedef struct { int64_t due; Conn *conn; } Item;

static Item *heap; static size_t heap_n, heap_cap;
static Conn **dead; static size_t dead_n;      // freed only between turns: epoll and the heap may still name them
static double ttft_s, itl_s; static int sync_steps, epfd;
static long sequence;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void push(int64_t due, Conn *c) {
    if (heap_n == heap_cap) heap = realloc(heap, (heap_cap = heap_cap ? 2 * heap_cap : 1024) * sizeof *heap);
    size_t i = heap_n++;
    while (i && heap[(i - 1) / 2].due > due) { heap[i] = heap[(i - 1) / 2]; i = (i - 1) / 2; }
    heap[i] = (Item){due, c};
    c->queued = 1;
}

static Conn *pop(void) {
    Conn *top = heap[0].conn;
    Item last = heap[--heap_n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < heap_n; i = child) {
        if (child + 1 < heap_n && heap[child + 1].due < heap[child].due) child++;
        if (heap[child].due >= last.due) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    top->queued = 0;
    return top;
}

static void hang_up(Conn *c) {
    if (c->fd < 0) return;
    close(c->fd);
    c->fd = -1;
    dead = realloc(dead, (dead_n + 1) * sizeof *dead);
    dead[dead_n++] = c;
}

static void watch(Conn *c, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(epfd, EPOLL_CTL_MOD, c->fd, &e);
}

// Returns 0 when the socket is full (the rest is kept) or gone.
static int put(Conn *c, const char *data, int len) {
    ssize_t n = send(c->fd, data, (size_t)len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) { hang_up(c); return 0; }
    if (n == len) return 1;
    if (n < 0) n = 0;
    c->rest_len = len - (int)n;
    memcpy(c->rest, data + n, (size_t)c->rest_len);
    c->blocked = 1;
    watch(c, EPOLLIN | EPOLLOUT);
    return 0;
}

static void stamp(char *at, int64_t ns) {
    for (int i = STAMP - 1; i >= 0; i--, ns /= 10) at[i] = (char)('0' + ns % 10);
}

static int event(char *out, const char *id, const char *delta, const char *finish) {
    return sprintf(out, "data: {\"id\":\"%s\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
                   "\"model\":\"simulator\",\"choices\":[{\"index\":0,\"delta\":%s,\"logprobs\":null,\"finish_reason\":%s}],"
                   "\"system_fingerprint\":\"0000000000000000000\"}\n\n", id, delta, finish);
}

// Frames `payload` as one HTTP chunk; the stamp hole of its last event is always this far before the end of the chunk.
static int frame(char *out, const char *payload, int len, int *hole_at) {
    int n = sprintf(out, "%x\r\n", (unsigned)len);
    memcpy(out + n, payload, (size_t)len);
    memcpy(out + n + len, "\r\n", 2);
    *hole_at = n + len - STAMP - 4;  // "}\n\n after it
    return n + len + 2;
}

static void build(Conn *c, int64_t received_ns, int tokens) {
    char id[64], payload[1024];
    snprintf(id, sizeof id, "sim-%08ld-%019lld", sequence++ % 100000000, (long long)received_ns);
    const char *token = "{\"content\":\" tok\"}", *length = "\"length\"";
    int n = event(payload, id, "{\"role\":\"assistant\",\"content\":\"\"}", "null");
    int role_len = n;
    n += event(payload + n, id, token, tokens == 1 ? length : "null");
    c->first_len = frame(c->first, payload, n, &c->first_at[1]);
    c->first_at[0] = c->first_at[1] - (n - role_len);
    n = event(payload, id, token, "null");
    c->middle_len = frame(c->middle, payload, n, &c->middle_at);
    n = event(payload, id, token, length);
    c->last_len = frame(c->last, payload, n, &c->last_at);
    n = sprintf(payload, "data: {\"id\":\"%s\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
                "\"model\":\"simulator\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"total_tokens\":%d,"
                "\"completion_tokens\":%d}}\n\ndata: [DONE]\n\n", id, tokens + 1, tokens);
    c->tail_len = sprintf(c->tail, "%x\r\n%s\r\n0\r\n\r\n", (unsigned)n, payload);
    c->tokens = tokens, c->sent = 0, c->streaming = 1;
}

static int serve(Conn *c, int64_t received_ns);

// Sends what is due; a stream that is not over goes back on the heap.
static void pump(Conn *c) {
    if (c->fd < 0 || c->blocked || c->queued || !c->streaming) return;
    for (int i = 0; i < BURST; i++) {
        int64_t due = c->first_ns + c->sent * c->itl_ns, now = now_ns();
        if (due > now) { push(due, c); return; }
        char *data = c->middle;
        int len = c->middle_len, at = c->middle_at;
        if (c->sent == 0) {
            data = c->first, len = c->first_len, at = c->first_at[1];
            stamp(data + c->first_at[0], now);
        } else if (c->sent == c->tokens - 1) data = c->last, len = c->last_len, at = c->last_at;
        stamp(data + at, now);
        int last = ++c->sent == c->tokens;
        int sent = put(c, data, len);
        if (c->fd < 0) return;
        if (last) {
            c->streaming = 0;
            if (!sent) { memcpy(c->rest + c->rest_len, c->tail, (size_t)c->tail_len); c->rest_len += c->tail_len; return; }
            if (put(c, c->tail, c->tail_len)) serve(c, now_ns());
            return;
        }
        if (!sent) return;
    }
    push(now_ns(), c);
}

static double header(const char *head, const char *name, double otherwise) {
    const char *at = strcasestr(head, name);
    if (!at) return otherwise;
    at += strlen(name);
    while (*at == ' ') at++;
    return !strncmp(at, "true", 4) ? 1 : atof(at);
}

// Starts the answer to the first whole request in the inbox.
static int serve(Conn *c, int64_t received_ns) {
    c->in[c->in_len] = 0;
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end || c->streaming || c->blocked) return 0;
    size_t body_len = (size_t)header(c->in, "\ncontent-length:", 0), whole = (size_t)(end + 4 - c->in) + body_len;
    if (whole >= sizeof c->in) { hang_up(c); return 0; }
    if (c->in_len < whole) return 0;
    int post = !strncmp(c->in, "POST", 4), tokens = 16;
    double t0 = ttft_s, d = itl_s;
    int together = sync_steps;
    if (post) {
        char *body = end + 4, *max;
        *end = 0;  // headers are looked for before it, max_tokens behind it
        t0 = header(c->in, "\nx-sim-ttft-s:", t0), d = header(c->in, "\nx-sim-itl-s:", d);
        together = (int)header(c->in, "\nx-sim-synchronized:", together);
        if ((max = strstr(body, "\"max_completion_tokens\"")) || (max = strstr(body, "\"max_tokens\"")))
            tokens = atoi(strchr(max, ':') + 1);
    }
    memmove(c->in, c->in + whole, c->in_len -= whole);
    static const char HEAD[] = "HTTP/1.1 200 OK\r\nserver: simulator\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                               "transfer-encoding: chunked\r\n\r\n";
    static const char EMPTY[] = "HTTP/1.1 200 OK\r\nserver: simulator\r\ncontent-length: 0\r\n\r\n";
    if (!post || tokens < 1) { put(c, EMPTY, sizeof EMPTY - 1); return 0; }
    build(c, received_ns, tokens);
    c->itl_ns = (int64_t)(d * 1e9);
    c->first_ns = received_ns + (int64_t)(t0 * 1e9);
    if (together && c->itl_ns) c->first_ns = (c->first_ns + c->itl_ns - 1) / c->itl_ns * c->itl_ns;
    if (!put(c, HEAD, sizeof HEAD - 1)) return 0;
    push(c->first_ns, c);
    return 1;
}

static void readable(Conn *c) {
    int64_t ns = now_ns();
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - 1 - c->in_len, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { hang_up(c); return; }
    c->in_len += (size_t)n;
    serve(c, ns);
}

static void writable(Conn *c) {
    int len = c->rest_len;
    char rest[sizeof c->rest];
    memcpy(rest, c->rest, (size_t)len);
    c->rest_len = c->blocked = 0;
    if (!put(c, rest, len)) return;
    watch(c, EPOLLIN);
    if (c->streaming) pump(c);
    else serve(c, now_ns());
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
    }
}

static void poll_sockets(int listener, int64_t wait_ns) {
    struct epoll_event events[512];
    struct timespec t = {wait_ns / 1000000000, wait_ns % 1000000000};
    int n = epoll_pwait2(epfd, events, 512, &t, NULL);  // epoll_wait would round to ms
    for (int i = 0; i < n; i++) {
        Conn *c = events[i].data.ptr;
        if (!c) { accept_all(listener); continue; }
        if (c->fd >= 0 && events[i].events & EPOLLOUT) writable(c);
        if (c->fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT) readable(c);
    }
}

int main(int argc, char **argv) {
    int port = 0, opt, one = 1;
    while ((opt = getopt(argc, argv, "p:t:d:s")) != -1) switch (opt) {
        case 'p': port = atoi(optarg); break;
        case 't': ttft_s = atof(optarg); break;
        case 'd': itl_s = atof(optarg); break;
        case 's': sync_steps = 1; break;
        default: return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);  // ends with the benchmark that started it
    struct rlimit lim;
    getrlimit(RLIMIT_NOFILE, &lim);
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&a, len) || listen(listener, 4096)) { perror("listen"); return 1; }
    getsockname(listener, (struct sockaddr *)&a, &len);
    printf("{\"port\": %d}\n", ntohs(a.sin_port));
    fflush(stdout);
    epfd = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &e);
    for (int64_t polled = 0;;) {
        int64_t now = now_ns(), wait = heap_n ? heap[0].due - now - SPIN_NS : 1000000000;
        if (wait > 0 || now - polled > POLL_EVERY_NS) {
            poll_sockets(listener, wait > 0 ? wait : 0);
            polled = now = now_ns();
        }
        while (heap_n && heap[0].due <= now) {
            Conn *c = pop();
            if (c->fd >= 0) pump(c);
        }
        size_t kept = 0;  // a closed connection goes when the heap no longer names it
        for (size_t i = 0; i < dead_n; i++) {
            if (dead[i]->queued) dead[kept++] = dead[i];
            else free(dead[i]);
        }
        dead_n = kept;
    }
}
