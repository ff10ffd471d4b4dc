// Who a user is: the sources of passdb in order, with a small cache over the system's (which may be a directory far away).
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/clock.h"
#include "lib/ipc/user.h"
#include "lib/table/virtual_mailboxes.h"
#include "master/resolver/passwd_file.h"

namespace veredus::resolver {

// getpwnam_r, with "no such user" and "cannot tell now" told apart.
ipc::UserReply system_user(const std::string& name);

// A virtual user of virtual_mailbox_maps, who is served with the rights of who keeps his mailbox. He has no home.
ipc::UserReply user_of_tables(table::VirtualMailboxes& tables, const std::string& name, bool unprivileged);

// Asked on a thread beside the loop: tables and the user database may take their time.
class VirtualUsers {
public:
    struct Said {
        ipc::UserReply user;
        bool first = false;    // of virtual_mailbox_domains: local asks the tables first where his mail goes
    };
    VirtualUsers(const conf::Values& values, bool unprivileged);
    Said find(const std::string& name);
    // The ids that keep the mailbox of this address, with "uid:gid" for a name.
    ipc::UserReply keeper(const std::string& address);

private:
    Result<bool> is_virtual(const std::string& domain);
    table::VirtualMailboxes tables_;
    bool unprivileged_;
    std::mutex mutex_;    // of what follows
    table::Held<table::MatchList> domains_;
};

class Cache {
public:
    Cache(const Clock& clock, int64_t seconds, std::size_t limit) : clock_(clock), life_us_(seconds * us_per_second), limit_(limit) {}
    const ipc::UserReply* find(const std::string& name);
    void keep(const std::string& name, const ipc::UserReply& reply);    // temporary answers are not kept
    void clear();
    void set_life(int64_t seconds) { life_us_ = seconds * us_per_second; }
    std::size_t size() const { return order_.size(); }

private:
    struct Entry {
        std::string name;
        ipc::UserReply reply;
        int64_t until_us;
    };
    const Clock& clock_;
    int64_t life_us_;
    std::size_t limit_;
    std::list<Entry> order_;    // oldest first
    std::unordered_map<std::string, std::list<Entry>::iterator> index_;
};

class Users {
public:
    using System = std::function<ipc::UserReply(const std::string&)>;
    // `unprivileged`: only users of passwd-files with our own uid exist.
    Users(const Clock& clock, int64_t cache_seconds, bool unprivileged, System system = system_user);
    void set_sources(std::vector<std::string> sources);              // "system", "pam", "file:/path"
    void set_file(const std::string& path, std::string_view text);   // the text of a passwd-file of the sources
    // The same in two steps; the first belongs on a thread, when the file is long. The second gives the one that was in force before, which
    // takes its time to end as well.
    static PasswdFile parse_file(std::string_view text, bool unprivileged);
    PasswdFile take_file(const std::string& path, PasswdFile file);
    void set_cache_seconds(int64_t seconds) { cache_.set_life(seconds); }
    // Who may be in tables: an address.
    static bool may_be_virtual(const std::string& name);
    // `said`: what the tables say of him. Not for recipients, whom router finds by their domain. Of a domain that is not virtual they
    // know those who are in no source, or in one for his password alone.
    ipc::UserReply find(const std::string& name, const VirtualUsers::Said* said = nullptr);
    std::vector<std::string> files() const;                          // paths of the sources

private:
    ipc::UserReply ask_sources(const std::string& name, const VirtualUsers::Said* said);
    Cache cache_;
    bool unprivileged_;
    System system_;
    std::vector<std::string> sources_;
    std::unordered_map<std::string, PasswdFile> files_;
};

}  // namespace veredus::resolver
