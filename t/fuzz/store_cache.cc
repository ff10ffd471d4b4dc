// Cache files of any bytes: opened without harm, values of no more than their bound, and usable afterwards.
#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

#include "lib/base/fd.h"
#include "lib/store/cache.h"

using namespace veredus;
using namespace veredus::store;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    static const std::string path = [] {
        char name[] = "/dev/shm/veredus-fuzz.XXXXXX";
        return std::string(::mkdtemp(name));
    }();
    {
        const Fd file(::open((path + "/cache").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        if (!write_all(file.get(), {reinterpret_cast<const char*>(data), size})) std::abort();
    }
    const auto open = [&] {
        auto dir = disk::posix_disk().open_directory(nullptr, path);
        if (!dir) std::abort();
        auto cache = Cache::open(disk::posix_disk(), std::move(*dir), "cache", 7);
        if (!cache) std::abort();
        return std::move(*cache);
    };
    auto cache = open();
    for (uint32_t uid = 0; uid < 4; ++uid)
        if (const auto facts = cache->get(uid, uid); facts && facts->fields.size() + facts->envelope.size() > size) std::abort();
    Facts facts;
    facts.size = 55;
    facts.fields = "To: a@b\r\n";
    cache->put(5, 5, facts);
    if (!cache->flush()) std::abort();
    auto again = open();
    const auto found = again->get(5, 5);
    if (!found || found->size != 55 || found->fields != facts.fields) std::abort();
    return 0;
}
