// smtpd_reject_footer: words of the administrator behind each refusal, with what finds its line in the log.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/smtp/reply.h"

namespace veredus::reception {

class Footer {
public:
    using Lookup = std::function<Result<std::optional<std::string>>(std::string_view)>;
    using Values = std::map<std::string, std::string, std::less<>>;
    // `text`: smtpd_reject_footer; `maps`: smtpd_reject_footer_maps, asked for "CODE STATUS text"; null: there are none.
    Footer(std::string text, Lookup maps) : text_(std::move(text)), maps_(std::move(maps)) {}
    // For smtp::Delegate::footer: "\n" begins a line, a leading "\c" goes on with the last one. `warn`: a table that cannot be asked.
    std::string of(const smtp::Reply& reply, const std::function<Values()>& values, const std::function<void(std::string)>& warn) const;

private:
    std::string text_;
    Lookup maps_;
};

}  // namespace veredus::reception
