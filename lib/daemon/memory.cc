#include "lib/daemon/memory.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string_view>

namespace veredus::daemon {

namespace {

// Only what is never written to, relocations included: it is the same in the file.
int let_go(dl_phdr_info* object, size_t, void*)
{
    if (std::string_view(object->dlpi_name).starts_with("linux-vdso")) return 0;
    const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    for (const auto* segment = object->dlpi_phdr; segment != object->dlpi_phdr + object->dlpi_phnum; ++segment) {
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0) continue;
        const uintptr_t begin = (object->dlpi_addr + segment->p_vaddr + page - 1) & ~(page - 1);
        const uintptr_t end = (object->dlpi_addr + segment->p_vaddr + segment->p_memsz) & ~(page - 1);
        if (begin < end) (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    }
    return 0;
}

}  // namespace

void keep_memory_small()
{
#ifdef __GLIBC__
    ::mallopt(M_ARENA_MAX, 2);
#endif
}

void give_back_memory()
{
#ifdef __GLIBC__
    ::malloc_trim(0);
#endif
    ::dl_iterate_phdr(let_go, nullptr);
}

}  // namespace veredus::daemon
