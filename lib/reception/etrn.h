// ETRN (RFC 1985): a client asks that what waits for a domain be tried now. Which domains, by fast_flush_domains; how often, qmgr says.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/ipc/message.h"
#include "lib/smtp/server.h"
#include "lib/table/table.h"

namespace veredus::reception {

// Domain patterns as in relay_domains, for a role in a jail: files and tables come from `read`, and who hears that one changed makes
// the list anew.
class DomainList {
public:
    static Result<DomainList> make(const std::vector<std::string>& patterns, bool parents_match, const table::ReadText& read);
    Result<bool> matches(std::string_view domain) const;
    bool empty() const { return items_.empty(); }

private:
    struct Item {
        bool negated = false;
        table::MatchList name;
        std::shared_ptr<const table::Table> table; // shared_ptr: a list may be copied
    };
    Result<void> add(std::string_view pattern, bool negated, int depth, const table::ReadText& read);
    std::vector<Item> items_;
    bool parents_ = false;
};

class Etrn {
public:
    // `call` sends an ipc::FlushSite's body to qmgr and brings the answer; never from inside the call.
    using Call = std::function<void(std::string body, std::function<void(Result<ipc::Message>)> done)>;
    explicit Etrn(Call call) : call_(std::move(call)) {}
    // A list that cannot be read is logged, and until it can be no domain is flushed.
    void set_domains(Result<DomainList> domains);
    bool offered() const { return trouble_ || !domains_.empty(); }
    // The reply to "ETRN `text`". `ours`: a client that may know how much waits. `later` gives the function that takes a late reply.
    smtp::Outcome run(std::string_view text, bool ours, const std::function<std::function<void(const smtp::Reply&)>()>& later) const;

private:
    Call call_;
    DomainList domains_;
    bool trouble_ = false;
};

} // namespace veredus::reception
