// Canonical forms, masquerading and blind copies: what router's tables change in a mail before it is queued (main.cf(5)).
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "lib/conf/values.h"
#include "lib/ipc/message.h"
#include "lib/ipc/route.h"
#include "lib/mail/envelope.h"
#include "lib/mail/header.h"

namespace veredus::reception {

class Rewriter {
public:
    // Sends a RewriteRequest's body to router and brings the answer; never from inside the call.
    using Call = std::function<void(std::string body, std::function<void(Result<ipc::Message>)> done)>;
    explicit Rewriter(Call call) : call_(std::move(call)) {}
    void configure(const conf::Values& values);
    // False: there is nothing to do, so nobody need be asked.
    bool wanted() const { return ask_ || !always_.empty(); }
    // `done` gets the mail with its new addresses and copies, or why that cannot be said now; perhaps from within. Fields of a
    // stranger's header stay as they came.
    struct Mail {
        mail::HeaderBlock header;
        mail::Envelope envelope;
    };
    using Done = std::function<void(Result<Mail>)>;
    void run(Mail mail, Done done);

private:
    struct Work;
    bool header_is_ours(const mail::Envelope& envelope) const;
    void next_page(const std::shared_ptr<Work>& work);
    void finish(Work& work) const;
    Call call_;
    bool ask_ = false;
    std::string always_, myorigin_;
    std::set<std::string> header_clients_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);     // late answers look whether we are still there
};

}  // namespace veredus::reception
