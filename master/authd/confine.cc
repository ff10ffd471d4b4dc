// A seccomp filter of a dozen lines.
#include "master/authd/confine.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>

namespace veredus::authd {

#if defined(__x86_64__)
constexpr unsigned native = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr unsigned native = AUDIT_ARCH_AARCH64;
#elif defined(__riscv) && __riscv_xlen == 64
constexpr unsigned native = AUDIT_ARCH_RISCV64;
#else
constexpr unsigned native = 0;
#endif

Result<bool> forbid_network()
{
    if (native == 0) return false;
    constexpr unsigned refuse = SECCOMP_RET_ERRNO | EACCES;
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, native, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, refuse),                              // calls of another ABI of the same kernel
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 6, 0),          // x32
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, refuse),
    };
    const sock_fprog program{sizeof filter / sizeof *filter, filter};
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) return fail_errno("seccomp");
    return true;
}

}  // namespace veredus::authd
