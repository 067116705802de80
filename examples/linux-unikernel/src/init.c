/* PID 1 of the reference guest. */
#include "guest.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

int main(void)
{
    machine_mounts();
    options_read();
    signal(SIGPIPE, SIG_IGN);
    if (options.mode == MODE_PHP && access("/srv/router.php", R_OK) < 0) {
        say("the initrd is not whole: give the machine more memory");
        machine_off();
    }
    loop_open();

    /* Before the drivers: a disk found while they load is then an event like any other. */
    if (options.mode != MODE_APP)
        disks_open();
    machine_modules();
    machine_network();
    power_open();

    faults_set(FROM_BOOT, options.faults);
    if (options.mode == MODE_FILES)
        http_open();
    else {
        wake_open();
        program_start();
    }

    for (;;) {
        int64_t deadline = earlier(faults_deadline(), power_deadline());
        deadline = earlier(deadline, volumes_deadline());
        deadline = earlier(deadline, data_deadline());
        deadline = earlier(deadline, options.mode == MODE_FILES ? http_deadline() : program_deadline());
        loop_wait(deadline);

        faults_tick();
        volumes_tick();
        data_tick();
        if (options.mode == MODE_FILES)
            http_tick();
        else
            program_tick();
        power_tick();
    }
}
