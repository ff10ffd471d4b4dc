#include "smtp-client/pool.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::smtp_client {

Pool::~Pool() = default;

namespace {

std::string joined(const std::string& key, const std::string& terms)
{
    return cat(key, '\n', terms);
}

} // namespace

std::unique_ptr<Session> Pool::take(const std::string& hop_key, const std::string& terms)
{
    return find(&Entry::hop_key, joined(hop_key, terms));
}
std::unique_ptr<Session> Pool::take_host(const Endpoint& endpoint, const std::string& terms)
{
    return find(&Entry::host_key, joined(endpoint.relay(), terms));
}

std::unique_ptr<Session> Pool::find(const std::string Entry::*which, const std::string& key)
{
    const auto found = std::find_if(idle_.begin(), idle_.end(),
                                    [&](const Entry& e) { return e.*which == key && e.session->usable(); });
    if (found == idle_.end()) return nullptr;
    auto session = std::move(found->session);
    idle_.erase(found);
    return session;
}

Session* Pool::joinable(const std::string& hop_key, const std::string& terms)
{
    std::erase_if(busy_, [](const Busy& b) { return b.life.expired(); });
    const std::string key = joined(hop_key, terms);
    const auto found = std::find_if(busy_.begin(), busy_.end(), [&](const Busy& b) { return b.hop_key == key && b.session->joinable(); });
    return found == busy_.end() ? nullptr : found->session;
}

void Pool::lead(const std::string& hop_key, const std::string& terms, Session& session)
{
    const auto known = std::find_if(busy_.begin(), busy_.end(), [&](const Busy& b) { return b.session == &session && !b.life.expired(); });
    if (known == busy_.end()) busy_.push_back({joined(hop_key, terms), &session, session.life()});
    else known->hop_key = joined(hop_key, terms);
}

void Pool::put(const std::string& hop_key, const std::string& terms, std::unique_ptr<Session> session, const Settings& settings)
{
    const int64_t age_us = loop_.now_us() - session->started_us();
    const bool old = age_us >= settings.reuse_time.count() * 1000 ||
                     (settings.reuse_count && session->uses() >= settings.reuse_count);
    if (!settings.cache_connections || old || !session->usable()) return retire(std::move(session));
    while (idle_.size() >= max_idle) drop(idle_.back().session.get(), true);
    Session* raw = session.get();
    session->idle([this, raw] { drop(raw, false); });
    auto timer = std::make_unique<Timer>(loop_, [this, raw] { drop(raw, true); });
    timer->start(settings.cache_time);
    idle_.push_front({hop_key.empty() ? std::string() : joined(hop_key, terms), joined(raw->endpoint().relay(), terms), std::move(session), std::move(timer)});
}

void Pool::retire(std::unique_ptr<Session> session)
{
    if (!session) return;
    Session* raw = session.get();
    leaving_.push_back(std::move(session));
    raw->quit([this, raw] {
        const auto at = std::find_if(leaving_.begin(), leaving_.end(), [&](const auto& s) { return s.get() == raw; });
        if (at == leaving_.end()) return;
        bury(std::move(*at));
        leaving_.erase(at);
    });
}

void Pool::clear()
{
    busy_.clear();
    while (!idle_.empty()) drop(idle_.front().session.get(), true);
}

// It may be on the call stack now.
void Pool::bury(std::unique_ptr<Session> session)
{
    loop_.defer([grave = std::shared_ptr<Session>(std::move(session))] {});
}

void Pool::drop(const Session* session, bool say_quit)
{
    const auto at =
        std::find_if(idle_.begin(), idle_.end(), [&](const Entry& e) { return e.session.get() == session; });
    if (at == idle_.end()) return;
    auto owned = std::move(at->session);
    idle_.erase(at);
    if (say_quit)
        retire(std::move(owned));
    else
        bury(std::move(owned));
}

} // namespace veredus::smtp_client
