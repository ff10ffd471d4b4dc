// aliases(5) and .forward: any text is read without harm, and targets are never empty.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/table/aliases.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    using namespace veredus::table;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (const auto targets = parse_targets(text))
        for (const AliasTarget& target : *targets)
            if (target.text.empty() || target.text.find('\0') != std::string::npos) std::abort();
    std::vector<AliasProblem> problems;
    const Aliases aliases = Aliases::parse(text, problems);
    if (const auto* entry = aliases.find("root"); entry && entry->targets.empty()) std::abort();
    return 0;
}
