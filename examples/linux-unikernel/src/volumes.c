#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETRY_MS 20
#define WARM_LIMIT (16 << 20)

static struct volume *newest, *current;
static bool settling;
static long warm_budget;

static bool attach(struct volume *);
static void warm(struct volume *);
static void settle(void);

struct volume *volumes_current(void)
{
    return current;
}

struct volume *volumes_newest(void)
{
    return newest;
}

struct volume *volumes_use(void)
{
    if (current)
        current->users++;
    return current;
}

void volumes_release(struct volume *volume)
{
    if (volume && --volume->users == 0 && volume != current)
        settle();
}

int64_t volumes_deadline(void)
{
    return settling ? now_ms() + RETRY_MS : NEVER;
}

void volumes_tick(void)
{
    if (settling)
        settle();
}

void volumes_close(void)
{
    for (struct volume *v = newest; v; v = v->older)
        if (v->mounted)
            umount2(v->folder, MNT_DETACH);
}

/* Which volume serves ---------------------------------------------------------------------- */

static void point_code_at(const char *folder)
{
    unlink("/code.new");
    if (!folder)
        unlink("/code");
    else if (symlink(folder, "/code.new") < 0 || rename("/code.new", "/code") < 0)
        say("cannot switch /code: %s", strerror(errno));
}

static void flip(struct volume *volume)
{
    struct volume *before = current;
    current = volume;
    point_code_at(volume ? volume->folder : NULL);

    char faults[256] = "";
    if (volume)
        read_text(volume->root, ".unideploy/fault", faults, sizeof faults);
    faults_set(FROM_VOLUME, faults);
    if (volume) {
        volume->keep = fault_on(KEEP_VOLUME);
        if (fault_on(KEEP_SLOT))
            machine_keep_slots();
        say("serving %s from %s (%s)", volume->revision, volume->device, volume->fs);
    } else
        say("no volume");
    if (before && !before->gone)
        http_keep(before);
    settle();
}

void volumes_added(const char *device)
{
    static int count;
    if (count > 0 && fault_on(IGNORE_VOLUMES))
        return;
    if (options.single && newest) {
        say("%s: invalid mount point: %s is mounted there", device, newest->device);
        return;
    }
    struct volume *volume = calloc(1, sizeof *volume);
    snprintf(volume->device, sizeof volume->device, "%s", device);
    snprintf(volume->folder, sizeof volume->folder, "/volumes/%d", ++count);
    if (!attach(volume)) {
        rmdir(volume->folder);
        free(volume);
        return;
    }
    volume->older = newest;
    newest = volume;
    flip(volume);
}

static void fall_back(void)
{
    for (struct volume *v = newest; v; v = v->older)
        if (!v->gone && (v->mounted || attach(v))) {
            flip(v);
            return;
        }
    flip(NULL);
}

void volumes_removed(const char *device)
{
    for (struct volume *v = newest; v; v = v->older)
        if (!v->gone && !strcmp(v->device, device)) {
            v->gone = true;
            if (v == current)
                fall_back();
            settle();
            return;
        }
}

/* Mounting --------------------------------------------------------------------------------- */

static void open_root(struct volume *volume)
{
    volume->root = open(volume->folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void detach(struct volume *volume, int flags)
{
    if (volume->root >= 0)
        close(volume->root);
    volume->root = -1;
    volume->mounted = umount2(volume->folder, flags) < 0 && errno == EBUSY;
    /* It may have to serve again before it can go. */
    if (volume->mounted)
        open_root(volume);
}

static bool attach(struct volume *volume)
{
    char path[48];
    snprintf(path, sizeof path, "/dev/%s", volume->device);
    volume->root = -1;
    volume->fs = disk_file_system(path);
    if (!volume->fs) {
        say("%s: ignored: no squashfs, ext4 or iso9660 on it", volume->device);
        return false;
    }
    mkdir(volume->folder, 0755);
    const char *how = strcmp(volume->fs, "ext4") ? "" : "noload";
    if (mount(path, volume->folder, volume->fs, MS_RDONLY | MS_NOSUID | MS_NODEV, how) < 0) {
        say("%s: ignored: %s does not mount: %s", volume->device, volume->fs, strerror(errno));
        return false;
    }
    volume->mounted = true;
    open_root(volume);
    if (read_text(volume->root, ".unideploy/revision", volume->revision, sizeof volume->revision) <= 0) {
        say("%s: ignored: no readable .unideploy/revision", volume->device);
        detach(volume, MNT_DETACH);
        return false;
    }
    if (options.mode == MODE_PHP)
        warm(volume);
    return true;
}

static int read_file(const char *path, const struct stat *about, int type, struct FTW *place)
{
    (void)place;
    static char piece[1 << 16];
    if (type != FTW_F || !S_ISREG(about->st_mode))
        return 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length;
    while (file >= 0 && warm_budget > 0 && (length = read(file, piece, sizeof piece)) > 0)
        warm_budget -= length;
    if (file >= 0)
        close(file);
    return warm_budget <= 0;
}

/* A PHP request opens more files while it runs: from memory, if the disk was unplugged meanwhile. */
static void warm(struct volume *volume)
{
    warm_budget = WARM_LIMIT;
    nftw(volume->folder, read_file, 16, FTW_PHYS);
}

static bool forgettable(struct volume *v)
{
    if (v == current || v->users > 0 || v->keep)
        return false;
    /* Where php serves, only the kernel knows whether a request still holds the volume, and that request
     * still looks files up by path. */
    if (v->mounted)
        detach(v, v->gone && options.mode == MODE_FILES ? MNT_DETACH : 0);
    if (v->mounted)
        settling = true;
    return v->gone;
}

/* Lets go of what nobody needs, so that an unplug finds the disk idle. */
static void settle(void)
{
    settling = false;
    for (struct volume **at = &newest; *at;) {
        struct volume *v = *at;
        if (!forgettable(v)) {
            at = &v->older;
            continue;
        }
        say("released %s", v->device);
        rmdir(v->folder);
        *at = v->older;
        free(v);
    }
}
