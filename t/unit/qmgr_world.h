// A world for the scheduler: simulated time, a router made of a table, agents that answer when the test says so.
#pragma once

#include <algorithm>
#include <cerrno>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/queue/id.h"
#include "qmgr/scheduler.h"

namespace veredus::test {

using namespace veredus::qmgr;

constexpr int64_t second = 1'000'000;

class FakeWorld final : public World {
public:
    struct File {
        mail::Envelope envelope;
        queue::Place place;
    };
    struct Sent {
        Agent agent;
        ipc::Attempt attempt;
    };

    FakeWorld()
    {
        log::capture(&said);
        limits.myhostname = limits.myorigin = "host.example";
        restart();
    }
    ~FakeWorld() override { log::capture(nullptr); }
    bool said_has(std::string_view piece) const { return said.find(piece) != std::string::npos; }

    // A fresh scheduler from what is on disk, as after a crash.
    void restart()
    {
        scheduler.reset();
        posted.clear();
        sent.clear();
        timers.clear();
        scheduler = std::make_unique<Scheduler>(*this, limits, 2);
        for (const auto& r : journal) scheduler->replay(r);
        for (const auto& [id, file] : files) scheduler->found(id_number(id), file.place);
        scheduler->begin();
        for (const Agent a : {Agent{Agent::Kind::local, 0}, Agent{Agent::Kind::smtp, 0}, Agent{Agent::Kind::smtp, 1}}) scheduler->agent_up(a);
        run();
    }

    std::string put(const std::string& sender, const std::vector<std::string>& recipients, std::function<void(mail::Envelope&)> change = nullptr)
    {
        mail::Envelope e;
        if (!sender.empty()) e.sender = *mail::parse_address(sender);
        for (const auto& r : recipients) e.recipients.push_back({*mail::parse_address(r), 0, ""});
        e.arrival_us = wall;
        if (change) change(e);
        const std::string id = cat(hex_upper(static_cast<uint64_t>(wall / second), 8), hex_upper(0x80000000u + ++counter, 8));
        files[id] = {e, {queue::State::incoming, 0}};
        return id;
    }
    std::string take(const std::string& sender, const std::vector<std::string>& recipients, std::function<void(mail::Envelope&)> change = nullptr)
    {
        const std::string id = put(sender, recipients, std::move(change));
        scheduler->queued(id_number(id), 0);
        run();
        return id;
    }

    // Everything that follows at once: answers, commits, pumps.
    void run()
    {
        for (int turns = 0; woken || !posted.empty(); ++turns) {
            if (turns > 100'000) throw std::runtime_error("the scheduler spins");
            if (std::exchange(woken, false)) scheduler->pump();
            if (posted.empty()) continue;
            auto work = std::move(posted.front());
            posted.pop_front();
            work();
        }
    }
    void pass(int64_t us)
    {
        const int64_t end = mono + us;
        for (;;) {
            int64_t next = std::min(end, scheduler->next_wakeup());
            for (const auto& t : timers) next = std::min(next, t.first);
            const int64_t step = std::max<int64_t>(0, next - mono);
            mono += step;
            wall += step;
            std::vector<std::function<void()>> due;
            for (auto it = timers.begin(); it != timers.end() && it->first <= mono; it = timers.erase(it)) due.push_back(it->second);
            for (auto& work : due) work();
            woken = true;
            run();
            if (mono >= end) return;
        }
    }

    // Answers what is in flight: verdict by recipient address; the rest by `otherwise`.
    using Say = std::function<ipc::Verdict(const ipc::Attempt&, const ipc::Target&)>;
    std::size_t answer(const Say& say, std::size_t most = SIZE_MAX)
    {
        std::size_t n = 0;
        while (!sent.empty() && n < most) {
            Sent s = std::move(sent.front());
            sent.pop_front();
            ipc::Verdicts v;
            v.attempt = s.attempt.attempt;
            for (const auto& t : s.attempt.targets) {
                v.verdicts.push_back(say(s.attempt, t));
                v.verdicts.back().index = t.index;
            }
            scheduler->verdicts(s.agent, v);
            run();
            ++n;
        }
        return n;
    }
    static ipc::Verdict delivered(const ipc::Attempt&, const ipc::Target&)
    {
        ipc::Verdict v;
        v.outcome = ipc::Outcome::delivered;
        v.dsn = "2.0.0";
        return v;
    }
    static ipc::Verdict verdict(ipc::Outcome outcome, std::string dsn, std::string text, bool site = false)
    {
        ipc::Verdict v;
        v.outcome = outcome;
        v.dsn = std::move(dsn);
        v.text = std::move(text);
        v.site = site;
        return v;
    }
    std::size_t in_flight_to(const std::string& nexthop) const
    {
        return static_cast<std::size_t>(std::count_if(sent.begin(), sent.end(), [&](const Sent& s) { return s.attempt.nexthop == nexthop; }));
    }
    std::vector<std::string> targets() const
    {
        std::vector<std::string> all;
        for (const auto& s : sent)
            for (const auto& t : s.attempt.targets) all.push_back(t.address);
        std::sort(all.begin(), all.end());
        return all;
    }
    bool waits(const std::string& id) const { return files.contains(id); }
    Entry* entry(const std::string& id) { return scheduler->catalog().find(id_number(id)); }

    // World
    Now now() const override { return {wall, mono}; }
    Opened open(const std::string& id, queue::Place place) override
    {
        ++opens;
        Opened o;
        const auto f = files.find(id);
        if (f == files.end() || !(f->second.place == place)) {
            o.how = Opened::How::gone;
            o.why = "no such file";
        } else if (corrupt.contains(id)) {
            o.how = Opened::How::corrupt;
            o.why = "damaged";
        } else {
            o.how = Opened::How::open;
            o.envelope = f->second.envelope;
            o.body_unchecked = large.contains(id);
        }
        return o;
    }
    void check_body(const Mail& mail, std::function<void(Result<void>)> done) override
    {
        ++checks;
        hold_or_post(hold_checks, [this, id = mail.id, done] {
            if (unreadable.contains(id)) return done(unexpected(Error{EIO, "input/output error"}));
            done(flipped.contains(id) ? Result<void>(fail("the body's checksum is wrong")) : Result<void>());
        });
    }
    void route(ipc::RouteRequest request, std::function<void(Result<std::vector<ipc::Route>>)> done) override
    {
        ++routings;
        post([this, request, done] {
            if (router_away) return done(fail("router away"));
            std::vector<ipc::Route> routes;
            for (const auto& r : request.recipients) routes.push_back(route_of(r, request.final_only));
            done(std::move(routes));
        });
    }
    ipc::Route route_of(const std::string& address, bool final_only) const
    {
        ipc::Route r;
        const auto known = table.find(address);
        if (known != table.end() && !(final_only && known->second.kind == ipc::Route::Kind::expand)) return known->second;
        r.kind = ipc::Route::Kind::deliver;
        const auto at = address.rfind('@');
        const std::string domain = at == std::string::npos ? "host.example" : address.substr(at + 1);
        r.address = at == std::string::npos ? cat(address, "@host.example") : address;
        r.transport = domain == "host.example" ? "local" : "smtp";
        r.nexthop = domain == "host.example" ? "" : domain;
        return r;
    }
    void alias(const std::string& address, const std::vector<std::string>& members)
    {
        ipc::Route r;
        r.kind = ipc::Route::Kind::expand;
        for (const auto& m : members) {
            queue::Child c;
            c.text = m;
            r.children.push_back(c);
        }
        table[address] = r;
    }
    bool attempt(Agent agent, const ipc::Attempt& a, const Fd&) override
    {
        if (away.contains(agent.number())) return false;
        sent.push_back({agent, a});
        ++attempts;
        return true;
    }
    void cancel(Agent, uint64_t a) override { cancelled.insert(a); }
    void commit(std::vector<queue::Record> records, std::function<void(Result<void>)> durable) override
    {
        ++commits;
        if (journal_fails) return post([durable] { durable(fail("disk error")); });
        commit_sizes.push_back(records.size());
        for (auto& r : records) journal.push_back(std::move(r));
        if (crash_after_commits > 0 && --crash_after_commits == 0) throw Crash();
        hold_or_post(hold_commits, [durable] { durable({}); });
    }
    void rebuild(std::vector<queue::Record> live, std::function<void(Result<void>)> done) override
    {
        ++rebuilds;
        if (journal_fails) return post([done] { done(fail("disk error")); });
        journal = std::move(live);
        post([done] { done({}); });
    }
    void move(std::vector<std::string> ids, queue::Place from, queue::Place to, std::function<void(Result<void>)> done) override
    {
        ++moves;
        hold_or_post(hold_moves, [this, ids, from, to, done] {
            if (moves_fail) return done(fail("disk full"));
            for (const auto& id : ids)
                if (const auto f = files.find(id); f != files.end() && f->second.place == from) f->second.place = to;
            if (moves_fail_at_their_end) return done(fail("unlink: I/O error"));
            done({});
        });
    }
    void remove(std::vector<std::pair<std::string, queue::Place>> mails, std::function<void(Result<void>)> done) override
    {
        post([this, mails, done] {
            for (const auto& [id, place] : mails)
                if (const auto f = files.find(id); f != files.end() && f->second.place == place) files.erase(f);
            done({});
        });
    }
    Result<std::string> reserve_id() override
    {
        if (ids_left == 0) return fail("disk full");
        if (ids_left > 0) --ids_left;
        return cat(hex_upper(static_cast<uint64_t>(wall / second), 8), hex_upper(0xF0000000u + ++counter, 8));
    }
    void notify(Notice notice, const Mail& about, std::function<void(Result<void>)> written) override
    {
        if (notices_crash) throw Crash();
        post([this, notice, id = about.id, written] {
            if (notices_fail) return written(fail("disk full"));
            mail::Envelope e;
            if (notice.to_postmaster) e.sender = {limits.double_bounce, limits.myhostname};
            e.recipients.push_back({*mail::parse_address(notice.to), 0, ""});
            if (!notice.copy_to.empty()) e.recipients.push_back({*mail::parse_address(notice.copy_to), 0, ""});
            e.arrival_us = wall;
            files[notice.id] = {e, {queue::State::incoming, 2}};
            notices.push_back(notice);
            written({});
        });
    }
    void after(int64_t us, std::function<void()> work) override { timers.emplace(mono + us, std::move(work)); }
    void wake() override { woken = true; }
    void post(std::function<void()> work) { posted.push_back(std::move(work)); }

    void hold_or_post(bool hold, std::function<void()> work) { (hold ? held.push_back(std::move(work)) : post(std::move(work))); }

    struct Crash {};
    std::vector<std::function<void()>> held;        // what a test lets happen in its own order
    bool hold_moves = false, hold_commits = false, hold_checks = false;
    std::string said;                // the log
    Limits limits;
    int64_t wall = 1'795'528'800 * second, mono = 1000 * second;
    std::map<std::string, File> files;
    std::vector<queue::Record> journal;
    std::map<std::string, ipc::Route> table;
    std::deque<Sent> sent;
    std::deque<std::function<void()>> posted;
    std::multimap<int64_t, std::function<void()>> timers;
    std::vector<Notice> notices;
    std::set<std::string> corrupt, large, flipped, unreadable;
    std::set<std::size_t> away;
    std::set<uint64_t> cancelled;
    bool woken = false, router_away = false, journal_fails = false, moves_fail = false, moves_fail_at_their_end = false, notices_fail = false, notices_crash = false;
    int crash_after_commits = 0;
    int ids_left = -1;               // IDs that can be reserved; negative: any number
    std::vector<std::size_t> commit_sizes;
    uint32_t counter = 0;
    std::size_t opens = 0, checks = 0, moves = 0, routings = 0, attempts = 0, commits = 0, rebuilds = 0;
    std::unique_ptr<Scheduler> scheduler;
};

}  // namespace veredus::test
