// Taking up the maildrop: each file that veredus-drop left becomes a mail in the queue, once, and only then goes.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lib/disk/pool.h"
#include "lib/queue/checks.h"
#include "lib/queue/inspect.h"
#include "lib/queue/intake.h"
#include "lib/reception/rewriter.h"
#include "submission/mend.h"

namespace veredus::submission {

struct PickupSettings {
    queue::InspectSettings inspect;
    MendSettings mend;
    std::shared_ptr<const queue::CheckRules> checks;   // null: none
    std::string mail_name;            // "veredus" in Received
    uint64_t size_limit = 0;          // bytes of content; 0: none
    uint64_t minimum_free = 0;        // bytes that the spool keeps
};

// One thread's object. `intake` and what `pool` does belong to the same loop.
class Pickup {
public:
    struct Doors {                                             // what it does to the world besides files
        std::function<void(std::function<void()>)> defer;      // in another turn of the loop: its other work comes in between
        std::function<void(std::vector<std::string>)> queued;  // these IDs are durable, and gone from the maildrop: tell qmgr
        reception::Rewriter* rewriter = nullptr;               // changes addresses before a mail is queued
        std::function<void()> trouble;                         // our trouble: call scan() again in a while
    };
    // `fresh` is maildrop/new, `tmp` maildrop/tmp. What may wait for a disk is done by `pool`, which ends before us; null: everything in this
    // thread.
    Pickup(disk::Directory fresh, disk::Directory tmp, queue::Intake& intake, disk::Pool* pool, const Clock& clock, PickupSettings settings, Doors doors);
    ~Pickup();

    // What an earlier life had queued but not yet removed goes, durably, before anyone could deliver and forget it.
    Result<unsigned> reconcile();
    Result<void> scan();                      // every file in new
    void found(const std::string& name);      // one of them
    Result<unsigned> sweep();                 // drafts of veredus-drop that were abandoned a day ago
    void configure(PickupSettings settings) { settings_ = std::move(settings); }
    void stop(std::function<void()> done);    // begins no more; `done` once what was begun has ended
    std::size_t recipients() const;           // of all mails that are being taken: bounded, whatever people put there

private:
    struct Source;
    struct Taking;
    void pump();
    void soon(bool& pending, void (Pickup::*work)());    // in the next turn, once
    void pump_soon();
    void begin(const std::string& name);
    void read(Taking& taking);                // the next piece, then a turn for it
    void turn();
    void turn_soon();
    void step(Taking& taking);
    void resume();
    bool admit(Taking& taking);
    Result<bool> take_in(Taking& taking);
    Result<void> record(Taking& taking);
    void complete_mail(Taking& taking);
    void committed(const std::string& name, const Result<queue::Receipt>& result);
    void ended(const std::string& name);      // of this taking, either way
    void set_aside(const std::string& name, uint32_t uid, const std::string& why);
    void keep(const std::string& name, const Error& error);   // our trouble: it stays where it is
    void remove_taken();
    void removed(std::vector<std::string> names, const Result<void>& synced);
    void check_stopped();

    disk::Directory fresh_, tmp_;
    queue::Intake& intake_;
    disk::Pool* pool_;
    const Clock& clock_;
    PickupSettings settings_;
    Doors doors_;
    std::deque<std::string> waiting_;
    std::set<std::string> known_;             // waiting, being taken, or being removed
    std::set<std::string> failed_;            // those that were kept
    std::set<std::string> odd_;               // names that were warned of
    std::map<std::string, std::unique_ptr<Taking>> takings_;
    std::deque<std::string> ready_;           // of them, those of which a piece is read
    std::deque<std::string> crowded_;         // of them, those that wait until others with many recipients have ended
    std::vector<std::string> taken_;          // durable in the queue, not yet removed here
    unsigned failures_ = 0;                   // since the last scan; some of them, and all waits for the next one
    bool removing_ = false, pumping_ = false, turning_ = false, stopping_ = false;
    std::function<void()> stopped_;
    std::shared_ptr<bool> alive_;             // shared with what was deferred and may run after we are gone
};

}  // namespace veredus::submission
