// One request for routes on its way: decide, ask about the users that are not known, decide again, answer.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/ipc/route.h"
#include "qmgr/router/routing.h"
#include "qmgr/router/users.h"

namespace veredus::router {

class Batch : public std::enable_shared_from_this<Batch> {   // shared: the answers about its users hold it
public:
    using Tables = std::function<const Routing&()>;          // they may be replaced while users are asked
    // `reasons`: what is behind temporary failures, for the log.
    using Done = std::function<void(std::vector<ipc::Route>, const std::vector<std::string>& reasons)>;
    Batch(ipc::RouteRequest request, Tables tables, UserCache& users, Done done)
        : request_(std::move(request)), tables_(std::move(tables)), users_(users), done_(std::move(done)) {}
    void run();

private:
    void answered(const std::string& name, Known known);
    ipc::RouteRequest request_;
    Tables tables_;
    UserCache& users_;
    Done done_;
    std::map<std::string, Known> answers_;      // of this batch: they hold until it is done
    std::size_t open_ = 0;
    bool asking_ = false;
};

// An answer that fits into one message: expansions and then other answers from the end on become temporary ones.
std::string encode_fitting(ipc::RouteReply reply);

}  // namespace veredus::router
