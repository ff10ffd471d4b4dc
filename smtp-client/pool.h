// Connections that wait a moment for the next mail to the same next hop or host, and those that are on their way out.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "smtp-client/session.h"

namespace veredus::smtp_client {

class Pool {
public:
    explicit Pool(Loop& loop) : loop_(loop) {}
    ~Pool();
    Pool(const Pool&) = delete;
    // The latest used; null when there is none. For a next hop: to one of its best MX hosts only. `terms` are what the session was made
    // under (TLS policy, login): only who asks for the same gets it.
    std::unique_ptr<Session> take(const std::string& hop_key, const std::string& terms);
    std::unique_ptr<Session> take_host(const Endpoint& endpoint, const std::string& terms);
    // A session to one of the hop's best hosts that serves another mail now and may be joined; null: none.
    Session* joinable(const std::string& hop_key, const std::string& terms);
    void lead(const std::string& hop_key, const std::string& terms, Session& session); // it serves a mail now
    // Keeps it when the settings let it take another mail, else says QUIT. An empty key: for its host only.
    void put(const std::string& hop_key, const std::string& terms, std::unique_ptr<Session> session, const Settings& settings);
    void retire(std::unique_ptr<Session> session); // QUIT if it can, and destroyed later, never at once
    void clear();                                  // all idle ones say QUIT
    std::size_t idle() const { return idle_.size(); }
    std::size_t leaving() const { return leaving_.size(); }

private:
    static constexpr std::size_t max_idle = 500;
    struct Entry {
        std::string hop_key, host_key;
        std::unique_ptr<Session> session;
        std::unique_ptr<Timer> timer;
    };
    std::unique_ptr<Session> find(const std::string Entry::*which, const std::string& key);
    void bury(std::unique_ptr<Session> session);
    void drop(const Session* session, bool say_quit);
    Loop& loop_;
    struct Busy {
        std::string hop_key;
        Session* session;
        std::weak_ptr<const int> life;
    };
    std::vector<Busy> busy_; // some are so no longer
    std::list<Entry> idle_; // the latest used first
    std::list<std::unique_ptr<Session>> leaving_;
};

} // namespace veredus::smtp_client
