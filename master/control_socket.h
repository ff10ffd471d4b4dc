// RUN_DIRECTORY/control: where `veredus who` and `veredus kick` ask master. The file's own rights say who may: root and
// the group veredus-admin (design.md §1).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "lib/ipc/channel.h"
#include "lib/ipc/message.h"
#include "lib/loop/loop.h"
#include "lib/net/stream.h"
#include "master/sessions.h"

namespace veredus::master {

class ControlSocket {
public:
    ControlSocket(Loop& loop, Sessions& sessions) : loop_(loop), sessions_(sessions) {}
    Result<void> open(const std::string& run_directory);

private:
    struct Peer {
        std::unique_ptr<ipc::Channel> channel;
    };
    void accept(Fd client);
    void ask(uint64_t number, const ipc::Message& message);
    ipc::Channel* channel_of(uint64_t number);
    Loop& loop_;
    Sessions& sessions_;
    uint64_t next_ = 1;
    std::map<uint64_t, Peer> peers_;
    std::unique_ptr<net::Acceptor> acceptor_;
};

} // namespace veredus::master
