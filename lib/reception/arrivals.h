// What was queued in this turn of the loop, told to qmgr in one message. A lost one is no loss: qmgr scans what it was not told.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/ipc/queue.h"
#include "lib/loop/loop.h"

namespace veredus::reception {

class Arrivals {
public:
    Arrivals(Loop& loop, std::function<void(std::string body)> send) : loop_(loop), send_(std::move(send)) {}
    void add(const std::string& id)
    {
        ids_.push_back(id);
        if (ids_.size() > 1) return;
        loop_.defer([self = std::weak_ptr(self_)] {
            if (const auto alive = self.lock()) (*alive)->tell();
        });
    }

private:
    void tell()
    {
        constexpr std::size_t page = 1000;   // 20 bytes each: well within a message
        for (std::size_t from = 0; from < ids_.size(); from += page) {
            ipc::Queued queued;
            queued.ids.assign(ids_.begin() + static_cast<std::ptrdiff_t>(from), ids_.begin() + static_cast<std::ptrdiff_t>(std::min(ids_.size(), from + page)));
            send_(queued.encode());
        }
        ids_.clear();
    }
    Loop& loop_;
    std::function<void(std::string)> send_;
    std::vector<std::string> ids_;
    std::shared_ptr<Arrivals*> self_ = std::make_shared<Arrivals*>(this);
};

}  // namespace veredus::reception
