// Connections that wait a moment for the next mail to the same next hop, and those that are on their way out.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "smtp-client/session.h"

namespace veredus::smtp_client {

class Pool {
public:
    explicit Pool(Loop& loop) : loop_(loop) {}
    ~Pool();
    Pool(const Pool&) = delete;
    std::unique_ptr<Session> take(const std::string& key); // the latest used; null when there is none
    // Keeps it when the settings let it take another mail, else says QUIT.
    void put(const std::string& key, std::unique_ptr<Session> session, const Settings& settings);
    void retire(std::unique_ptr<Session> session); // QUIT if it can, and destroyed later, never at once
    void clear();                                  // all idle ones say QUIT
    std::size_t idle() const { return idle_.size(); }
    std::size_t leaving() const { return leaving_.size(); }

private:
    static constexpr std::size_t max_idle = 500;
    struct Entry {
        std::string key;
        std::unique_ptr<Session> session;
        std::unique_ptr<Timer> timer;
    };
    void bury(std::unique_ptr<Session> session);
    void drop(const Session* session, bool say_quit);
    Loop& loop_;
    std::list<Entry> idle_; // the latest used first
    std::list<std::unique_ptr<Session>> leaving_;
};

} // namespace veredus::smtp_client
