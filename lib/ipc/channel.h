// A channel to another role in the loop: messages out and in, requests with deadlines, credit, and one answer for all that
// waits when the peer dies.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>

#include "lib/ipc/message.h"
#include "lib/loop/loop.h"

namespace veredus::ipc {

class Channel {
public:
    struct User {
        std::function<void(Message)> message;             // requests of the peer and one-way messages; answer with reply()
        std::function<void(const std::string& why)> closed;   // once; the owner may destroy the channel in it
    };
    Channel(Loop& loop, Fd fd, User user, std::size_t credit = 1000);
    ~Channel();                                           // pending calls are forgotten: their owner is going too
    Channel(const Channel&) = delete;
    // For peers that are anybody: the next message is read only when reply() has answered the last one and the socket has
    // taken that answer, so a peer can make us keep one request and one answer. Its end is noticed no sooner either.
    void one_request_at_a_time();
    // One-way. fds are borrowed and duplicated by the kernel. When the socket is full the message waits in order.
    Result<void> send(uint16_t type, std::string body, std::span<const int> fds = {});
    // Asked while a call still waits in this process, for credit or for the socket: false, and it is never sent.
    using Wanted = std::function<bool()>;
    // `done` gets the answer, or an error: closed, deadline passed, nobody wanted it any more (ECANCELED), or no credit left and too many waiting.
    // Never called from inside call(). `wanted` null: it always is.
    void call(uint16_t type, std::string body, std::span<const int> fds, std::chrono::milliseconds deadline, std::function<void(Result<Message>)> done,
              Wanted wanted = nullptr);
    Result<void> reply(const Message& to, uint16_t type, std::string body, std::span<const int> fds = {});
    Result<void> reply(uint32_t request, uint16_t type, std::string body, std::span<const int> fds = {});
    std::size_t in_flight() const;                        // calls without an answer yet
    bool congested() const;                               // messages wait for the socket
    // False as soon as the end is noticed, which is before `closed` is called. What is asked after that may stay unanswered,
    // because `closed` comes first and the owner may destroy the channel in it.
    bool open() const;
    int fd() const;

private:
    struct Private;
    std::shared_ptr<Private> private_;                    // shared_ptr: callbacks may outlive a channel that dies in one
};

}  // namespace veredus::ipc
