// A libnvidia-ml.so.1 that says what a control file says: the binding, its structs and its errors are real, the GPUs not.
// FAKE_NVML names the file, lines of key=value, read anew when it changes. Keys with N are of GPU N, or of all without it.
//   gpus  init_rc  generation (a new one makes all handles stale until NVML is initialised again)
//   nameN uuidN pciN migN (its MIG devices) pidsN (1,2,3) archN
//   utilN mem_utilN usedN (bytes) wattsN avgN instantN (W; none: not supported) energyN (mJ, fixed; else follows the watts) energy_reset
//   lostN=1  lost_afterN (calls)  throttleN  gpm=1  smN tensorN dramN (%)  rc.FUNCTION or rc.FUNCTION.N (error code)
//   hang.FUNCTION=1 (it never returns)
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef int rc_t;
typedef struct device { int gpu, mig; char generation[32]; } device;
typedef struct { char name[64]; long calls; } counter;
static struct { char key[80], value[200]; } lines[200];
static int n_lines, inits, n_counters, gpm_live;
static char generation[32];
static counter counters[64];
static double energy_mj[16], energy_at[16];
static char energy_reset[16][32];
static long gpu_calls[16];

static void reload(void) {
    static struct timespec seen; static off_t size = -1; static ino_t inode;
    const char *path = getenv("FAKE_NVML");
    struct stat st;
    if (!path || stat(path, &st)) { n_lines = 0; return; }
    if (size == st.st_size && inode == st.st_ino && !memcmp(&seen, &st.st_mtim, sizeof seen)) return;
    seen = st.st_mtim; size = st.st_size; inode = st.st_ino; n_lines = 0;
    FILE *file = fopen(path, "r");
    char line[300];
    while (file && n_lines < 200 && fgets(line, sizeof line, file))
        if (sscanf(line, "%79[^=]=%199[^\n]", lines[n_lines].key, lines[n_lines].value) == 2) n_lines++;
    if (file) fclose(file);
}

static const char *find(const char *key) {
    for (int i = 0; i < n_lines; i++) if (!strcmp(lines[i].key, key)) return lines[i].value;
    return NULL;
}

static const char *word(const char *key, int gpu, const char *missing) {
    char own[100];
    snprintf(own, sizeof own, "%s%d", key, gpu);
    const char *value = find(own);
    if (!value) value = find(key);
    return value ? value : missing;
}

static double number(const char *key, int gpu, double missing) {
    const char *value = word(key, gpu, NULL);
    return value ? atof(value) : missing;
}

static counter *count_of(const char *name) {
    for (int i = 0; i < n_counters; i++) if (!strcmp(counters[i].name, name)) return &counters[i];
    if (n_counters == 64) abort();
    snprintf(counters[n_counters].name, 64, "%s", name);
    return &counters[n_counters++];
}

static void hang(const char *name) {
    char key[100];
    snprintf(key, sizeof key, "hang.%s", name);
    while (find(key)) pause();
}

static rc_t gate(const char *name, const device *dev) {
    char key[100];
    reload();
    count_of(name)->calls++;
    hang(name);
    if (!inits) return 1;
    if (dev) {
        gpu_calls[dev->gpu]++;
        if (strcmp(dev->generation, word("generation", -1, "0"))) return 15;
        if (number("lost", dev->gpu, 0)) return 15;
        double after = number("lost_after", dev->gpu, 0);
        if (after && gpu_calls[dev->gpu] > after) return 15;
        snprintf(key, sizeof key, "rc.%s.%d", name, dev->gpu);
        if (find(key)) return atoi(find(key));
    }
    snprintf(key, sizeof key, "rc.%s", name);
    return find(key) ? atoi(find(key)) : 0;
}

#define GATE(dev) do { rc_t rc_ = gate(__func__, dev); if (rc_) return rc_; } while (0)
#define GPUS ((int)number("gpus", -1, 1))
long fake_calls(const char *name) { return count_of(name)->calls; }
int fake_gpm_live(void) { return gpm_live; }

static device *handle(int gpu, int mig) {
    static device made[16][8];  // reused as NVML's own are: one device, one handle
    device *dev = &made[gpu][mig + 1];
    dev->gpu = gpu; dev->mig = mig;
    snprintf(dev->generation, sizeof dev->generation, "%s", generation);
    return dev;
}

static const char *uuid_of(int gpu, int mig) {
    static char own[100];
    if (mig >= 0) snprintf(own, sizeof own, "MIG-%d000000%d-aaaa-bbbb-cccc-00000000000%d", gpu, mig, mig);
    else snprintf(own, sizeof own, "GPU-%d0000000-aaaa-bbbb-cccc-dddddddddddd", gpu);
    return mig >= 0 ? own : word("uuid", gpu, own);
}

rc_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    reload();
    count_of(__func__)->calls++;
    hang(__func__);
    int rc = (int)number("init_rc", -1, 0);
    if (rc) return rc;
    if (!inits++) snprintf(generation, sizeof generation, "%s", word("generation", -1, "0"));
    return 0;
}
rc_t nvmlShutdown(void) { GATE(NULL); inits--; return 0; }
const char *nvmlErrorString(rc_t rc) { static char text[40]; snprintf(text, sizeof text, "fake error %d", rc); return text; }
rc_t nvmlSystemGetDriverVersion(char *out, unsigned n) { GATE(NULL); snprintf(out, n, "580.65.06"); return 0; }
rc_t nvmlSystemGetNVMLVersion(char *out, unsigned n) { GATE(NULL); snprintf(out, n, "13.580.65.06"); return 0; }
rc_t nvmlSystemGetCudaDriverVersion_v2(int *out) { GATE(NULL); *out = 13000; return 0; }
rc_t nvmlDeviceGetCount_v2(unsigned *out) { GATE(NULL); *out = GPUS; return 0; }
rc_t nvmlDeviceGetHandleByIndex_v2(unsigned i, device **out) {
    GATE(NULL);
    if ((int)i >= GPUS) return 2;
    *out = handle(i, -1);
    return number("lost", i, 0) ? 15 : 0;
}
rc_t nvmlDeviceGetHandleByUUID(const char *uuid, device **out) {
    GATE(NULL);
    for (int gpu = 0; gpu < GPUS; gpu++)
        for (int mig = -1; mig < number("mig", gpu, 0); mig++)
            if (!strcmp(uuid, uuid_of(gpu, mig))) { *out = handle(gpu, mig); return number("lost", gpu, 0) ? 15 : 0; }
    return 6;
}
rc_t nvmlDeviceGetName(device *d, char *out, unsigned n) { GATE(d); snprintf(out, n, "%s", word("name", d->gpu, "Fake H100")); return 0; }
rc_t nvmlDeviceGetUUID(device *d, char *out, unsigned n) { GATE(d); snprintf(out, n, "%s", uuid_of(d->gpu, d->mig)); return 0; }
typedef struct { char legacy[16]; unsigned domain, bus, device, id, sub; char bus_id[32]; } pci;
rc_t nvmlDeviceGetPciInfo_v3(device *d, pci *out) {
    GATE(d);
    char own[32];
    snprintf(own, sizeof own, "00000000:%02X:00.0", d->gpu + 1);
    memset(out, 0, sizeof *out);
    snprintf(out->bus_id, 32, "%s", word("pci", d->gpu, own));
    return 0;
}
rc_t nvmlDeviceGetArchitecture(device *d, unsigned *out) { GATE(d); *out = number("arch", d->gpu, 9); return 0; }
rc_t nvmlDeviceGetCudaComputeCapability(device *d, int *major, int *minor) {
    GATE(d);
    *major = number("arch", d->gpu, 9) == 7 ? 8 : (int)number("arch", d->gpu, 9);
    *minor = 0;
    return 0;
}
typedef struct { unsigned gpu, memory; } utilization;
rc_t nvmlDeviceGetUtilizationRates(device *d, utilization *out) {
    GATE(d);
    if (number("mig", d->gpu, 0)) return 3;
    *out = (utilization){number("util", d->gpu, 50), number("mem_util", d->gpu, 25)};
    return 0;
}
#define USED(d) (uint64_t)number("used", d->gpu, 1073741824.0)
#define TOTAL(d) (d->mig >= 0 ? 10737418240ull : 85899345920ull)
typedef struct { uint64_t total, free, used; } memory;
rc_t nvmlDeviceGetMemoryInfo(device *d, memory *out) { GATE(d); *out = (memory){TOTAL(d), TOTAL(d) - USED(d), USED(d)}; return 0; }
typedef struct { unsigned version; uint64_t total, reserved, free, used; } memory2;
rc_t nvmlDeviceGetMemoryInfo_v2(device *d, memory2 *out) {
    GATE(d);
    if (out->version != 0x02000028) return 25;
    out->total = TOTAL(d); out->reserved = 0; out->used = USED(d); out->free = TOTAL(d) - USED(d);
    return 0;
}
rc_t nvmlDeviceGetPowerUsage(device *d, unsigned *out) { GATE(d); *out = 1000 * number("watts", d->gpu, 300); return 0; }
rc_t nvmlDeviceGetEnforcedPowerLimit(device *d, unsigned *out) { GATE(d); *out = 700000; return 0; }
rc_t nvmlDeviceGetTotalEnergyConsumption(device *d, uint64_t *out) {
    GATE(d);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double at = now.tv_sec + now.tv_nsec / 1e9;
    int i = d->gpu;
    const char *reset = word("energy_reset", i, "");
    if (strcmp(reset, energy_reset[i]) || !energy_at[i]) {
        snprintf(energy_reset[i], 32, "%s", reset);
        energy_mj[i] = *reset ? 0 : 5e6;
        energy_at[i] = at;
    }
    energy_mj[i] += 1000 * number("watts", i, 300) * (at - energy_at[i]);
    energy_at[i] = at;
    *out = word("energy", i, NULL) ? (uint64_t)number("energy", i, 0) : (uint64_t)energy_mj[i];
    return 0;
}
typedef struct { uint32_t field, scope; int64_t stamp, latency; int type, rc; union { double d; unsigned u; uint64_t l; } value; } field;
rc_t nvmlDeviceGetFieldValues(device *d, int n, field *out) {
    GATE(d);
    for (int i = 0; i < n; i++) {
        const char *key = out[i].field == 185 ? "avg" : out[i].field == 186 ? "instant" : "";
        const char *answer = *key ? word(key, d->gpu, word("watts", d->gpu, "300")) : "none";
        out[i].rc = strcmp(answer, "none") ? 0 : 3;
        out[i].type = 1;
        out[i].value.u = 1000 * atof(answer);
    }
    return 0;
}
rc_t nvmlDeviceGetClockInfo(device *d, int type, unsigned *out) { GATE(d); *out = type == 1 ? 1980 : 2619; return 0; }
rc_t nvmlDeviceGetTemperature(device *d, int sensor, unsigned *out) { GATE(d); (void)sensor; *out = 61; return 0; }
rc_t nvmlDeviceGetCurrentClocksEventReasons(device *d, uint64_t *out) { GATE(d); *out = number("throttle", d->gpu, 0); return 0; }
rc_t nvmlDeviceGetCurrentClocksThrottleReasons(device *d, uint64_t *out) { GATE(d); *out = number("throttle", d->gpu, 0); return 0; }
rc_t nvmlDeviceGetPcieThroughput(device *d, int way, unsigned *out) { GATE(d); *out = way ? 2000 : 1000; return 0; }
typedef struct { unsigned pid; uint64_t used; unsigned instance, compute; } process;
rc_t nvmlDeviceGetComputeRunningProcesses_v3(device *d, unsigned *n, process *out) {
    GATE(d);
    unsigned pids[32], found = 0, room = *n;
    char text[200], *rest = text;
    snprintf(text, sizeof text, "%s", word("pids", d->gpu, ""));
    for (char *pid; found < 32 && (pid = strsep(&rest, ","));) if (*pid) pids[found++] = atoi(pid);
    *n = found;
    if (found > room || (found && !out)) return 7;
    for (unsigned i = 0; i < found; i++) out[i] = (process){pids[i], 1 << 30, ~0u, ~0u};
    return 0;
}
rc_t nvmlDeviceGetMigMode(device *d, unsigned *now, unsigned *pending) {
    GATE(d);
    if (number("arch", d->gpu, 9) < 7) return 3;
    *now = *pending = number("mig", d->gpu, 0) > 0;
    return 0;
}
rc_t nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *out) { GATE(d); *out = number("mig", d->gpu, 0) ? 7 : 0; return 0; }
rc_t nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned i, device **out) {
    GATE(d);
    if (i >= number("mig", d->gpu, 0)) return 6;
    *out = handle(d->gpu, i);
    return 0;
}
rc_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device *d, device **out) { GATE(d); *out = handle(d->gpu, -1); return 0; }
rc_t nvmlDeviceGetGpuInstanceId(device *d, unsigned *out) { GATE(d); if (d->mig < 0) return 3; *out = d->mig + 1; return 0; }
typedef struct { unsigned version, supported; } gpm_support;
rc_t nvmlGpmQueryDeviceSupport(device *d, gpm_support *out) {
    GATE(d);
    if (out->version != 1) return 25;
    out->supported = number("gpm", d->gpu, 0) > 0;
    return 0;
}
typedef struct { int gpu, slice; long taken; } gpm_sample;
rc_t nvmlGpmSampleAlloc(gpm_sample **out) { GATE(NULL); *out = calloc(1, sizeof **out); gpm_live++; return 0; }
rc_t nvmlGpmSampleFree(gpm_sample *sample) { GATE(NULL); free(sample); gpm_live--; return 0; }
rc_t nvmlGpmSampleGet(device *d, gpm_sample *out) { static long n; GATE(d); *out = (gpm_sample){d->gpu, 0, ++n}; return 0; }
rc_t nvmlGpmMigSampleGet(device *d, unsigned slice, gpm_sample *out) {
    static long n;
    GATE(d);
    *out = (gpm_sample){d->gpu, (int)slice, ++n};
    return 0;
}
typedef struct { unsigned id; rc_t rc; double value; const char *info[3]; } metric;
typedef struct { unsigned version, n; gpm_sample *first, *second; metric metrics[]; } metrics_get;
rc_t nvmlGpmMetricsGet(metrics_get *get) {
    GATE(NULL);
    if (get->version != 1) return 25;
    if (!get->first->taken || get->second->taken <= get->first->taken) return 2;  // in order, both taken
    for (unsigned i = 0; i < get->n; i++) {
        metric *m = &get->metrics[i];
        const char *key = m->id == 2 ? "sm" : m->id == 5 ? "tensor" : m->id == 10 ? "dram" : NULL;
        m->rc = key ? 0 : 3;
        m->value = key ? number(key, get->second->gpu, 40) + get->second->slice : 0;
    }
    return 0;
}
