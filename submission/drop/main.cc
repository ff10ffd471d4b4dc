// veredus-drop: put one mail into the maildrop for a caller who may not.  Manual: man/veredus-drop.8
#include <sysexits.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "config.h"
#include "submission/drop/drop.h"

int main(int argc, char** argv)
{
    namespace drop = veredus::drop;
    if (!drop::settle()) return EX_OSERR;
    drop::Options options;
    if (const int status = drop::parse(argc, argv, options)) return status;
    if (options.spool || options.config) {
        // Another spool or configuration: with the rights of whoever names it, and no other.
        const gid_t gid = getgid();
        const uid_t uid = getuid();
        if (setresgid(gid, gid, gid) || setresuid(uid, uid, uid) || getegid() != gid || geteuid() != uid) {
            drop::complain("giving up rights failed");
            return EX_OSERR;
        }
    }
    drop::Config config;
    memcpy(config.spool, VEREDUS_SPOOLDIR, sizeof VEREDUS_SPOOLDIR);
    drop::read_config(options.config ? options.config : VEREDUS_SYSCONFDIR, config);
    if (config.bad_spool && !options.spool) {
        drop::complain("queue_directory in main.cf must be a plain absolute path, without $");
        return EX_CONFIG;
    }
    char id[17] = {};
    if (const int status = drop::take(0, options.spool ? options.spool : config.spool, config.size_limit, id)) return status;
    if (options.print_id) {
        id[16] = '\n';
        if (write(1, id, 17) != 17) return EX_OK;   // the mail is safe, whoever wanted to hear of it
    }
    return EX_OK;
}
