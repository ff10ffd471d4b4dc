// main.cf: any text is read without harm, and what is good survives the way to a role.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "lib/conf/pipes.h"
#include "lib/conf/values.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    using namespace veredus::conf;
    (void)parse_pipe_transports({reinterpret_cast<const char*>(data), size});
    const File file = File::parse({reinterpret_cast<const char*>(data), size}, "main.cf");
    for (const Diagnostic& diagnostic : file.diagnostics()) (void)diagnostic.str();
    if (!file.ok()) return 0;
    const auto again = Values::deserialize(file.values().serialize(everyone, false));
    if (!again || again->serialize(everyone, false) != file.values().serialize(everyone, false)) std::abort();
    return 0;
}
