// Kernel errors as enhanced status codes.
#include "lib/store/problem.h"

#include <cerrno>

namespace veredus::store {

Problem problem_of(const Error& error)
{
    const char* dsn = "4.2.0";    // RFC 3463 §3.3: other mailbox status
    switch (error.code) {
    case EDQUOT: dsn = "4.2.2"; break;
    case ENOSPC: dsn = "4.3.1"; break;
    case EIO:
    case EROFS:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
    case ESTALE:
    case ENOLCK: dsn = "4.3.0"; break;
    case EFBIG: dsn = "4.2.2"; break;    // RLIMIT_FSIZE or the file system's limit
    default: break;
    }
    return {dsn, error.text};
}

}  // namespace veredus::store
