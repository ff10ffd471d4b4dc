// Address fields of any bytes: domains are put in, nothing else changes, and what is complete stays as it is.
#include <cstdint>
#include <cstdlib>

#include "submission/complete.cc"

using namespace veredus;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    const std::string once = submission::complete_list(in, "o.example");
    if (submission::complete_list(once, "o.example") != once) std::abort();
    // Without what was put in it is the input again.
    std::size_t at = 0;
    for (std::size_t i = 0; i < once.size();) {
        if (at < in.size() && once[i] == in[at] && std::string_view(once).substr(i, 10) != "@o.example") {
            ++i;
            ++at;
        } else if (std::string_view(once).substr(i, 10) == "@o.example") {
            i += 10;
            if (in.substr(at, 10) == "@o.example") at += 10;
        } else {
            std::abort();
        }
    }
    if (at != in.size() && in.find("@o.example") == std::string_view::npos) std::abort();
    return 0;
}
