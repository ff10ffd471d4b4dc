// smtpd_reject_footer.
#include "lib/reception/footer.h"

#include "lib/base/text.h"
#include "lib/reception/judge.h"

namespace veredus::reception {

namespace {

constexpr std::size_t most_lines = 10;

// What a peer said of itself gets into one line only.
std::string lines_of(std::string_view format, const Footer::Values& values)
{
    std::string out;
    std::size_t lines = 0;
    for (std::string_view rest = format; lines < most_lines; ++lines) {
        const std::size_t end = rest.find("\\n");
        append(out, lines ? "\n" : "", printable(fill_rbl_reply(rest.substr(0, end), values), 500));
        if (end == std::string_view::npos) break;
        rest.remove_prefix(end + 2);
    }
    return out;
}

}  // namespace

std::string Footer::of(const smtp::Reply& reply, const std::function<Values()>& values, const std::function<void(std::string)>& warn) const
{
    std::string format = text_;
    if (maps_) {
        const std::string first(std::string_view(reply.text).substr(0, reply.text.find('\n')));
        const auto own = maps_(cat(reply.code, ' ', reply.enhanced, reply.enhanced.empty() ? "" : " ", first));
        if (!own) warn(own.error().text);
        else if (*own) format = **own;
    }
    if (format.empty()) return {};
    const bool goes_on = format.starts_with("\\c");
    return cat(goes_on ? "" : "\n", lines_of(std::string_view(format).substr(goes_on ? 2 : 0), values()));
}

}  // namespace veredus::reception
