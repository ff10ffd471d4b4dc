// Mails whose senders were told to come again although something of them may be left on the disk: qmgr must hear of them, now or when it
// is back.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "lib/ipc/queue.h"

namespace veredus::reception {

class Disowned {
public:
    // `send` brings the body of an ipc::Queued to qmgr as QueueType::disowned; false: not now.
    explicit Disowned(std::function<bool(std::string body)> send) : send_(std::move(send)) {}
    void add(const std::string& id)
    {
        if (ids_.size() == most) ids_.erase(ids_.begin());
        ids_.push_back(id);
        tell();
    }
    void tell()                                       // also when qmgr is back
    {
        ipc::Queued all;
        all.ids = ids_;
        if (!ids_.empty() && send_(all.encode())) ids_.clear();
    }

private:
    static constexpr std::size_t most = 1000;         // well within a message
    std::function<bool(std::string)> send_;
    std::vector<std::string> ids_;
};

}  // namespace veredus::reception
