// The queue as people and tools read it: Postfix's mailq and postqueue -j, byte for byte (dropin.md §3.3), and the calls behind them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "lib/ipc/queue.h"

namespace veredus::ipc {

// mailq with long queue IDs. Heading before the first entry, a line between entries, totals at the end.
class QueueText {
public:
    std::string entry(const Listed& mail);
    std::string end() const;               // "-- 12 Kbytes in 3 Requests." or "Mail queue is empty"

private:
    uint64_t bytes_ = 0, count_ = 0;
};
std::string queue_json(const Listed& mail);        // one object and a line end, as postqueue -j

// The public socket below run_directory. An Error says that the mail system is down when that is why.
class QueueClient {
public:
    static Result<QueueClient> connect(const std::string& run_directory);
    // All pages; `each` false stops.
    Result<void> list(const Filter& filter, const std::function<bool(const Listed&)>& each);
    Result<ActReply> act(const ActRequest& request);
    Result<Message> call(QueueType type, std::string body);

private:
    QueueClient(std::string run_directory, Fd fd) : run_directory_(std::move(run_directory)), fd_(std::move(fd)) {}
    Result<uint32_t> send(QueueType type, std::string body);        // the request's number
    Result<Message> receive(uint32_t request);
    Result<uint32_t> ask_page(const ListRequest& request);
    Result<void> connect_again();
    std::string run_directory_;
    Fd fd_;
    uint32_t request_ = 0;
};

}  // namespace veredus::ipc
