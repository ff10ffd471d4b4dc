// One request for routes on its way: decide, ask about what is not known (users, and keys of socketmap: tables), decide again, answer.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/ipc/route.h"
#include "lib/table/socketmap.h"
#include "qmgr/router/routing.h"
#include "qmgr/router/users.h"

namespace veredus::router {

class Batch : public std::enable_shared_from_this<Batch> {   // shared: the answers about its users hold it
public:
    using Tables = std::function<const Routing&()>;          // they may be replaced while users are asked
    // `reasons`: what is behind temporary failures, for the log.
    using Done = std::function<void(std::vector<ipc::Route>, const std::vector<std::string>& reasons)>;
    // Puts a question to a server of a socketmap: table; perhaps answers from within.
    using AskServer = std::function<void(const table::Questions::Question&, std::function<void(table::Answer)>)>;
    static constexpr std::chrono::seconds patience{30};      // then what no server has answered is temporary
    Batch(ipc::RouteRequest request, Tables tables, UserCache& users, AskServer servers, Done done)
        : request_(std::move(request)), tables_(std::move(tables)), users_(users), servers_(std::move(servers)), done_(std::move(done)) {}
    void run();

private:
    void one_answered();
    ipc::RouteRequest request_;
    Tables tables_;
    UserCache& users_;
    AskServer servers_;
    Done done_;
    std::map<std::string, Known> answers_;      // of this batch: they hold until it is done
    table::Questions questions_;                // likewise
    std::chrono::steady_clock::time_point until_ = std::chrono::steady_clock::now() + patience;
    std::size_t open_ = 0;
    bool asking_ = false;
};

// An answer that fits into one message: expansions and then other answers from the end on become temporary ones.
std::string encode_fitting(ipc::RouteReply reply);

}  // namespace veredus::router
