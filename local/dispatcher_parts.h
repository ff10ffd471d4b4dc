// What the files of the dispatcher share, and nobody else.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lib/base/text.h"
#include "local/dispatcher.h"

namespace veredus::local {

constexpr std::size_t max_text = 900;    // of a verdict

inline ipc::Verdict verdict(ipc::Outcome outcome, std::string dsn, std::string text)
{
    ipc::Verdict v;
    v.outcome = outcome;
    v.dsn = std::move(dsn);
    v.text = printable(text, max_text);
    v.relay = "local";
    return v;
}

inline bool is_addressed(const ipc::Target& target) { return target.kind == queue::Child::Kind::address || target.kind == queue::Child::Kind::mailbox; }

struct Dispatcher::Flight {
    uint64_t peer = 0;
    ipc::Attempt attempt;
    std::shared_ptr<const Fd> mail;                  // shared_ptr: lists are read beside the loop
    int64_t taken_wall_us = 0, taken_us = 0;
    bool lmtp = false;                               // of lmtpd
    std::map<uint32_t, std::string> counted;         // key in Dispatcher::of_lmtp_, by index
    std::map<uint32_t, unsigned> waits;              // by index: for an aliases file that was being read when the recipient was in none
    std::map<uint32_t, ipc::Target> open;                 // as qmgr sent them, by index
    std::vector<ipc::Verdict> ready;
};

// A mailbox of an account that keeps those of many users, by its path.
inline bool is_placed(const ipc::Target& target) { return target.kind == queue::Child::Kind::mailbox && target.run_as.starts_with('/'); }

// Whose turn it is with a command: the command of aliases(5) or a .forward, the recipient of a transport that is one, the user with his own.
inline std::string turn_of(const ipc::Target& target) { return target.kind != queue::Child::Kind::command && target.run_as.starts_with(command_mark) ? std::string() : target.address; }

struct Dispatcher::Apart {
    struct Stain {                                   // of a mailbox whose process died, hangs or says nothing; its next word takes it away
        bool alone = false;                          // no other mailbox was there: it is this one's fault
        int64_t until_us = 0;                        // no other process is tried while the one that hangs is there, or until then
        std::unique_ptr<ipc::Channel> lost;          // to that one
        uint64_t life = 0;                           // of that one
    };
    std::map<std::string, Stain> stains;             // by path
    std::deque<std::string> waiting;                 // keys of lanes without a process
    std::set<std::string> lanes;                     // keys of those with one
};

struct Dispatcher::Lane {
    Lane(Loop& loop, std::string k, std::string u, uint64_t a, bool c, std::function<void()> on_idle, std::function<void()> on_late,
         std::function<void()> on_again)
        : key(std::move(k)), user(std::move(u)), age(a), command(c), idle(loop, std::move(on_idle)), late(loop, std::move(on_late)), again(loop, std::move(on_again))
    {
    }
    std::string key, user;
    uint64_t age;
    bool command;
    std::string what;                                // the command or the recipient whose turn it is there
    std::string path;                                // the one mailbox that it serves; empty: all of the user
    bool shared = false;                             // it was given mailboxes of an account that keeps many
    bool stained = false;                            // what it has is known to be in a process that says nothing
    int64_t heard_us = 0;                            // its last word, or when it got the first mail after it
    enum class State : uint8_t { waiting, starting, running } state = State::waiting;
    uint64_t life = 0;
    std::deque<uint64_t> waiting;                    // jobs that it has not got yet
    std::set<uint64_t> sent;
    bool rests = false;                              // its key is in Dispatcher::resting_
    std::size_t gathered_bytes = 0;                  // of all pages that wait for another
    std::unique_ptr<ipc::Channel> channel;
    int64_t asked_us = 0;                            // master, for the first time
    int64_t started_us = 0;                          // running since
    Timer idle, late, again;
    std::size_t load() const { return waiting.size() + sent.size(); }
};

}  // namespace veredus::local
