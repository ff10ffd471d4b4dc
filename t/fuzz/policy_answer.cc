// Answers of policy services in any bytes: the cut changes nothing, an action is one line, and none is taken from an
// answer that is garbage.
#include <cstdint>
#include <cstdlib>

#include "lib/reception/policy_answer.h"

using namespace veredus;
using Answer = reception::PolicyAnswer;

namespace {
Answer::State read(std::string_view in, std::size_t piece, Answer& answer)
{
    auto state = Answer::State::more;
    for (; !in.empty() && state == Answer::State::more; in.remove_prefix(std::min(piece, in.size())))
        state = answer.feed(in.substr(0, piece));
    // What comes behind the empty line is garbage too, when it comes later.
    return state == Answer::State::complete && !in.empty() ? Answer::State::garbage : state;
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    Answer whole, cut;
    const auto state = read(in, size + 1, whole);
    if (read(in, 1, cut) != state) std::abort();
    if (state != Answer::State::complete) return 0;
    const std::string& action = whole.action();
    if (action.empty() || action != cut.action() || size > 8192 || action.find('\n') != std::string::npos ||
        action.find('\0') != std::string::npos)
        std::abort();
    if (in.find("action=") == std::string_view::npos || in.find(action) == std::string_view::npos) std::abort();
    return 0;
}
