// Postfix's policy protocol, client side (SMTPD_POLICY_README): a request is name=value lines and an empty line, and so is the
// answer, of which only "action=" counts. Connections are kept and used again.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/loop/loop.h"
#include "lib/reception/policy_answer.h"
#include "lib/reception/restrictions.h"

namespace veredus::reception {

class PolicyServices {
public:
    // Connects to "inet:host:port" or "unix:/path"; `done` comes later, never from inside the call.
    using Dial = std::function<void(const std::string& endpoint, std::function<void(Result<Fd>)> done)>;
    PolicyServices(Loop& loop, Dial dial);
    ~PolicyServices();
    PolicyServices(const PolicyServices&) = delete;
    // `done` gets the action, or the server's default_action when there was no answer in time (with a line in the log). Never from
    // inside the call.
    void ask(std::shared_ptr<const PolicyServer> server, const std::string& request, std::function<void(const std::string& action)> done);
    std::size_t connections() const;

private:
    struct Ask;
    struct Connection;
    struct Endpoint;
    void start(const std::shared_ptr<Ask>& ask);
    void dialled(const std::shared_ptr<Ask>& ask, Result<Fd> fd);
    void send(Connection& connection, const std::shared_ptr<Ask>& ask);
    void answered(Connection& connection);
    void lost(Connection& connection, const std::string& why);
    void failed(const std::shared_ptr<Ask>& ask, const std::string& why);
    void late(const std::shared_ptr<Ask>& ask);
    void finish(const std::shared_ptr<Ask>& ask, const std::string& action);
    void next(const std::string& endpoint);
    void drop(Connection& connection);

    Loop& loop_;
    Dial dial_;
    std::map<std::string, std::unique_ptr<Endpoint>> endpoints_;
    std::set<std::shared_ptr<Ask>> asks_;      // under way: one that pauses between two tries is held by nobody else
    std::shared_ptr<PolicyServices*> self_ = std::make_shared<PolicyServices*>(this);   // late calls find null when we are gone
};

}  // namespace veredus::reception
