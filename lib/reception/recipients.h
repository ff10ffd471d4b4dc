// Router's word on recipients, asked in batches and kept for a moment: RCPT is a hash lookup most of the time.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/ipc/message.h"
#include "lib/ipc/route.h"
#include "lib/loop/loop.h"

namespace veredus::reception {

class Recipients {
public:
    virtual ~Recipients() = default;
    using Done = std::function<void(const ipc::Route&)>;
    // The answer when it is known; else `done` later, with Kind::defer when router cannot be asked.
    virtual std::optional<ipc::Route> check(const std::string& address, Done done) = 0;
};

class RouterRecipients final : public Recipients {
public:
    // `call` sends a RouteRequest's body and brings the answer; never from inside the call.
    using Call = std::function<void(std::string body, std::function<void(Result<ipc::Message>)> done)>;
    RouterRecipients(Loop& loop, Call call) : loop_(loop), call_(std::move(call)) {}
    std::optional<ipc::Route> check(const std::string& address, Done done) override;
    void forget();                               // router went away: it may come back with other tables
    std::size_t cached() const { return young_.size() + old_.size(); }

private:
    struct Known {
        ipc::Route route;
        int64_t until_us;
    };
    struct Question {
        std::string address;
        std::vector<Done> done;                  // of all who want to know
    };
    using Asked = std::shared_ptr<Question>;     // shared_ptr: open_ knows it, too, while it may be joined
    using Cache = std::unordered_map<std::string, Known>;
    const ipc::Route* look_up(const std::string& address);
    void keep(const std::string& address, const ipc::Route& route);
    void ask();
    void send(std::vector<Asked> page);
    void answered(const std::vector<Asked>& asked, Result<ipc::Message> answer);

    Loop& loop_;
    Call call_;
    std::vector<Asked> waiting_;                 // for the end of the turn
    std::unordered_map<std::string, Asked> open_;    // waiting, or put to router
    bool scheduled_ = false;
    uint32_t generation_ = 0;
    Cache young_, old_;                          // when young is full it becomes old, and the older ones are forgotten
    std::shared_ptr<RouterRecipients*> self_ = std::make_shared<RouterRecipients*>(this);   // answers that outlive us find null
};

}  // namespace veredus::reception
