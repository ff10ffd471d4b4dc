// sendmail: take a mail from any program's hands to the maildrop; also mailq, newaliases and their kin.  Manual: man/sendmail.1
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "submission/sendmail/modes.h"

int main(int argc, char** argv)
{
    using namespace veredus;
    // Programs close what they should not; a file of ours must not take the number of standard error.
    for (int fd = 0; fd < 3; ++fd)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return EX_OSERR;

    // A file size limit ends in an exit status, not in a signal; what the caller may have of it we take.
    signal(SIGXFSZ, SIG_IGN);
    rlimit file_size{};
    if (getrlimit(RLIMIT_FSIZE, &file_size) == 0) {
        file_size.rlim_cur = file_size.rlim_max;
        setrlimit(RLIMIT_FSIZE, &file_size);
    }

    const auto invocation = sendmail::parse_arguments(std::vector<std::string>(argv, argv + argc));
    if (!invocation) {
        sendmail::complain(invocation.error().text);
        return invocation.error().code;
    }
    for (const std::string& warning : invocation->warnings) sendmail::complain("warning: " + warning);
    return sendmail::run(*invocation);
}
