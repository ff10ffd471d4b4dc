// The public socket: what people and tools ask of the queue, and who may ask what.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/ipc/channel.h"
#include "lib/ipc/queue.h"
#include "qmgr/core.h"

namespace veredus::qmgr {

// Names are made numbers before the jail hides the user database.
struct Rights {
    struct List {
        bool anyone = false;
        std::set<uint32_t> uids;
        bool has(uint32_t uid) const { return anyone || uids.contains(uid); }
    };
    List mailq, flush;                 // authorized_mailq_users, authorized_flush_users
    std::set<uint32_t> admins;         // uids that may do everything
    std::set<uint32_t> admin_groups;
    static Rights read(const conf::Values& values, bool unprivileged);
};

struct Caller {
    uint32_t uid = UINT32_MAX;
    bool admin = false, lists_all = false, flushes = false;
    static Caller from_socket(int fd, const Rights& rights);
};

class Public {
public:
    Public(Loop& loop, Core& core, Rights rights);
    ~Public();
    void client(Fd fd);
    // One question of one caller; the answer's type is the question's. Tests come in here.
    void ask(const Caller& caller, const ipc::Message& message, std::function<void(std::string body, Fd fd)> answer);

private:
    struct Client;
    void list(const Caller& caller, const ipc::ListRequest& request, std::function<void(std::string, Fd)> answer);
    void act(const Caller& caller, const ipc::ActRequest& request, std::function<void(std::string, Fd)> answer);
    void content(const Caller& caller, const std::string& id, std::function<void(std::string, Fd)> answer);
    std::string status();

    Loop& loop_;
    Core& core_;
    Rights rights_;
    std::unordered_map<uint64_t, std::unique_ptr<Client>> clients_;
    uint64_t next_client_ = 1;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace veredus::qmgr
