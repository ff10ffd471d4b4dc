// The public socket: what people and tools ask of the queue, and who may ask what.
#pragma once

#include <chrono>
#include <list>
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

struct Share;

class Public {
public:
    Public(Loop& loop, Core& core, Rights rights, std::chrono::milliseconds idle = std::chrono::seconds(30));
    ~Public();
    // Anybody may connect. A uid gets a few connections with one question each, and a few answers are worked on at a time, so
    // that nobody shuts others out or makes us grow; admins have places of their own and never wait.
    void client(Fd fd);
    std::size_t clients() const { return clients_.size(); }
    // One question of one caller; the answer's type is the question's. `share`: of his listing, or null. Tests come in here.
    void ask(const Caller& caller, const ipc::Message& message, const std::shared_ptr<Share>& share, std::function<void(std::string body, Fd fd)> answer);

private:
    struct Client;
    struct Question {
        uint64_t client = 0;
        ipc::Message message;
    };
    bool has_place(const Caller& caller);
    void asked(uint64_t number, ipc::Message message);
    bool may_start(const Caller& caller) const;
    void start(uint64_t number, const ipc::Message& message);
    void start_waiting();
    void idle(uint64_t number);
    void warn(const std::string& text);
    void list(const Caller& caller, const ipc::ListRequest& request, const std::shared_ptr<Share>& share, std::function<void(std::string, Fd)> answer);
    void act(const Caller& caller, const ipc::ActRequest& request, std::function<void(std::string, Fd)> answer);
    void content(const Caller& caller, const std::string& id, std::function<void(std::string, Fd)> answer);
    std::string status();

    Loop& loop_;
    Core& core_;
    Rights rights_;
    std::unordered_map<uint64_t, std::unique_ptr<Client>> clients_;
    uint64_t next_client_ = 1;
    std::chrono::milliseconds idle_;
    std::list<Question> waiting_;                    // at most one of each client
    std::unordered_map<uint32_t, std::size_t> open_; // by uid: questions of others than admins that are being answered
    int64_t warned_since_us_ = 0;
    unsigned warned_ = 0;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace veredus::qmgr
