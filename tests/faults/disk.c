/* Stands between a process and its disk, for tests: preloaded, it sees every change that the
   process makes below SHIM_ROOT. It can make them fail, as a full or read-only disk does, and it
   can write them down, so that a power cut can be played afterwards. tests/faults/disk.py drives it.

   SHIM_STATE: a file of struct state, shared with the test. SHIM_LOG: where changes are written. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct state {
    _Atomic uint64_t count;      /* changes seen so far */
    _Atomic uint64_t fail_at;    /* the change that begins a time of failures; 0: none */
    _Atomic uint64_t fail_ns;    /* how long that time is */
    _Atomic uint64_t until_ns;   /* end of that time, monotonic */
    _Atomic uint64_t hits;       /* changes that failed */
    _Atomic uint64_t error;      /* errno of a failure; 0: nothing fails */
    _Atomic uint64_t no_room;    /* whether statvfs tells of it */
};
enum { OPEN = 1, WRITE, TRUNCATE, SYNC_BEGINS, SYNC_ENDS, RENAME, UNLINK, MKDIR, RMDIR };
struct __attribute__((packed)) head {
    uint8_t kind;
    uint64_t inode, at;
    uint32_t first, second;      /* lengths of what follows */
};
#define DESCRIPTORS 4096
static struct state *state;
static int log_fd = -1;
static char root[PATH_MAX];
static size_t root_length;
static _Atomic uint64_t inode_of[DESCRIPTORS]; /* 0: not below the root */
static _Atomic uint64_t syncs;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int below(const char *path) {
    return root_length && strncmp(path, root, root_length) == 0 &&
           (path[root_length] == '/' || path[root_length] == 0);
}

static uint64_t inode(int fd) { return fd >= 0 && fd < DESCRIPTORS ? inode_of[fd] : 0; }

static void follow(int fd) {
    struct stat found;
    if (fd >= 0 && fd < DESCRIPTORS) inode_of[fd] = fstat(fd, &found) ? 0 : found.st_ino;
}

__attribute__((constructor)) static void begin(void) {
    const char *shared = getenv("SHIM_STATE"), *written = getenv("SHIM_LOG");
    if (!getenv("SHIM_ROOT") || !shared) return;
    strncpy(root, getenv("SHIM_ROOT"), sizeof root - 1);
    int fd = syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC, 0);
    void *found = mmap(0, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (found == MAP_FAILED) return;
    state = found;
    if (written) {
        int low = syscall(SYS_openat, AT_FDCWD, written, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        log_fd = fcntl(low, F_DUPFD_CLOEXEC, 900); /* out of the way of those who count theirs */
        syscall(SYS_close, low);
    }
    root_length = strlen(root);
    for (int each = 1; each < 3; each++) { /* a log that the parent opened */
        char link[64], path[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", each);
        ssize_t size = readlink(link, path, sizeof path - 1);
        if (size > 0) { path[size] = 0; if (below(path)) follow(each); }
    }
}

static void tell(int kind, uint64_t which, uint64_t at, const void *first, size_t one,
                 const void *second, size_t two) {
    if (log_fd < 0) return;
    int kept = errno;
    struct head head = {kind, which, at, one, two};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)first, one}, {(void *)second, two}};
    syscall(SYS_writev, log_fd, parts, 3);
    errno = kept;
}
static void tell_path(int kind, uint64_t which, const char *path) {
    tell(kind, which, 0, path, strlen(path), 0, 0);
}

/* Count a change; true, with errno, where it must fail. */
static int fails(void) {
    if (!state) return 0;
    uint64_t number = ++state->count;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    uint64_t now = time.tv_sec * 1000000000ull + time.tv_nsec;
    if (state->fail_at && number >= state->fail_at) {
        state->fail_at = 0;
        state->until_ns = now + state->fail_ns;
    }
    if (now >= state->until_ns || !state->error) return 0;
    state->hits++;
    errno = (int)state->error;
    return 1;
}
static int read_only(void) { return state && state->error == EROFS; }

static void absolute(int folder, const char *path, char *out) {
    if (path[0] == '/') { snprintf(out, PATH_MAX, "%s", path); return; }
    char link[64], base[PATH_MAX] = "";
    if (folder == AT_FDCWD) { if (!getcwd(base, sizeof base)) base[0] = 0; }
    else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t size = readlink(link, base, sizeof base - 1);
        base[size > 0 ? size : 0] = 0;
    }
    if (snprintf(out, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) out[0] = 0;
}

static int opened(int folder, const char *given, int flags, mode_t mode) {
    char path[PATH_MAX];
    if (!root_length) return syscall(SYS_openat, folder, given, flags, mode);
    absolute(folder, given, path);
    if (!below(path)) {
        int fd = syscall(SYS_openat, folder, given, flags, mode);
        if (fd >= 0 && fd < DESCRIPTORS) inode_of[fd] = 0;
        return fd;
    }
    struct stat found;
    int writes = (flags & O_ACCMODE) != O_RDONLY, exists = stat(path, &found) == 0;
    int creates = (flags & O_CREAT) && !exists;
    if ((creates || (writes && read_only())) && fails()) return -1;
    int fd = syscall(SYS_openat, folder, given, flags, mode);
    if (fd < 0) return fd;
    follow(fd);
    if (creates) tell_path(OPEN, inode(fd), path);
    if ((flags & O_TRUNC) && exists) tell(TRUNCATE, inode(fd), 0, 0, 0, 0, 0);
    return fd;
}
#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
    if (fd == log_fd && fd >= 0) { errno = EBADF; return -1; }
    if (fd >= 0 && fd < DESCRIPTORS) inode_of[fd] = 0;
    return syscall(SYS_close, fd);
}
int dup2(int from, int to) {
    int done = syscall(SYS_dup3, from, to, 0);
    if (from == to) return from;
    if (done >= 0 && done < DESCRIPTORS) inode_of[done] = inode(from);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) {
    uint64_t which = inode(fd);
    if (!which) return syscall(SYS_write, fd, data, size);
    if (fails()) return -1;
    ssize_t done = syscall(SYS_write, fd, data, size);
    if (done > 0) tell(WRITE, which, syscall(SYS_lseek, fd, 0, SEEK_CUR) - done, data, done, 0, 0);
    return done;
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    uint64_t which = inode(fd);
    if (which && fails()) return -1;
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, at);
    if (which && done > 0) tell(WRITE, which, at, data, done, 0, 0);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

int ftruncate64(int fd, off64_t size) {
    uint64_t which = inode(fd);
    if (which && fails()) return -1;
    int done = syscall(SYS_ftruncate, fd, size);
    if (which && !done) tell(TRUNCATE, which, size, 0, 0, 0, 0);
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synced(int fd, long number) {
    uint64_t which = inode(fd), name = ((uint64_t)getpid() << 32) | (++syncs & 0xffffffff);
    if (which && fails()) return -1;
    if (which) tell(SYNC_BEGINS, which, name, 0, 0, 0, 0);
    int done = syscall(number, fd);
    if (which && !done) tell(SYNC_ENDS, which, name, 0, 0, 0, 0);
    return done;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int renamed(int from_folder, const char *from, int to_folder, const char *to) {
    char one[PATH_MAX], two[PATH_MAX];
    absolute(from_folder, from, one), absolute(to_folder, to, two);
    int ours = below(one) && below(two);
    if (ours && fails()) return -1;
    int done = syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
    if (ours && !done) tell(RENAME, 0, 0, one, strlen(one), two, strlen(two));
    return done;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to); }

static int removed(int folder, const char *given, int flags) {
    char path[PATH_MAX];
    absolute(folder, given, path);
    if (below(path) && read_only() && fails()) return -1;
    int done = syscall(SYS_unlinkat, folder, given, flags);
    if (below(path) && !done) tell_path(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, path);
    return done;
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }

static int made(int folder, const char *given, mode_t mode) {
    char path[PATH_MAX];
    struct stat found;
    absolute(folder, given, path);
    int ours = below(path) && stat(path, &found) != 0;
    if (ours && fails()) return -1;
    int done = syscall(SYS_mkdirat, folder, given, mode);
    if (ours && !done && !stat(path, &found)) tell_path(MKDIR, found.st_ino, path);
    return done;
}
int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return made(folder, path, mode); }

static int is_full(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return state && state->no_room &&
           time.tv_sec * 1000000000ull + time.tv_nsec < state->until_ns;
}
int statvfs64(const char *path, struct statvfs64 *told) {
    int done = REAL(statvfs64)(path, told);
    if (!done && below(path) && is_full()) told->f_bavail = told->f_bfree = 0;
    return done;
}
int statvfs(const char *path, struct statvfs *told) { return statvfs64(path, (struct statvfs64 *)told); }
