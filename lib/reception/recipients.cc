// Router's word on recipients, asked in batches and kept for a moment.
#include "lib/reception/recipients.h"

#include <utility>

#include "lib/log/log.h"

namespace veredus::reception {

namespace {

constexpr std::size_t batch = 500;                 // lib/ipc/route.h: more go in pages
constexpr std::size_t batch_bytes = 60'000;        // and the answer must fit into a message too: it says address, next hop, and some words
constexpr std::size_t cache_half = 10'000;
constexpr int64_t good_us = 30'000'000;            // users come and go without a change of router's tables
constexpr int64_t bad_us = 3'000'000;              // whoever was just created must not bounce for long
constexpr int64_t troubled_us = 2'000'000;         // a table that does not answer is not asked more often for it

ipc::Route away()
{
    ipc::Route route;
    route.kind = ipc::Route::Kind::defer;
    route.dsn = "4.3.0";
    route.text = "Temporary lookup failure";
    return route;
}

}  // namespace

std::optional<ipc::Route> RouterRecipients::check(const std::string& address, Done done)
{
    if (const ipc::Route* known = look_up(address)) return *known;
    if (const auto same = open_.find(address); same != open_.end()) {
        same->second->done.push_back(std::move(done));
        return std::nullopt;
    }
    auto question = std::make_shared<Question>(Question{address, {}});
    question->done.push_back(std::move(done));
    open_.emplace(address, question);
    waiting_.push_back(std::move(question));
    if (!scheduled_) {
        scheduled_ = true;
        // At the end of the turn: all sessions that asked in it share one message.
        loop_.defer([self = std::weak_ptr(self_)] {
            if (const auto alive = self.lock()) (*alive)->ask();
        });
    }
    return std::nullopt;
}

void RouterRecipients::forget()
{
    young_.clear();
    old_.clear();
    open_.clear();       // what comes now is not for those who ask from here on
}

const ipc::Route* RouterRecipients::look_up(const std::string& address)
{
    for (Cache* cache : {&young_, &old_})
        if (const auto it = cache->find(address); it != cache->end() && it->second.until_us > loop_.now_us()) return &it->second.route;
    return nullptr;
}

void RouterRecipients::keep(const std::string& address, const ipc::Route& route)
{
    if (young_.size() >= cache_half) {
        old_ = std::move(young_);
        young_.clear();
    }
    using Kind = ipc::Route::Kind;
    const int64_t time = route.kind == Kind::defer ? troubled_us : route.kind == Kind::reject ? bad_us : good_us;
    Known known{route, loop_.now_us() + time};
    known.route.children.clear();
    young_.insert_or_assign(address, std::move(known));
}

void RouterRecipients::ask()
{
    scheduled_ = false;
    std::vector<Asked> all;
    all.swap(waiting_);
    std::vector<Asked> page;
    std::size_t bytes = 0;
    for (Asked& a : all) {
        const std::size_t cost = 2 * a->address.size() + 110;
        if (page.size() == batch || bytes + cost > batch_bytes) {
            send(std::exchange(page, {}));
            bytes = 0;
        }
        bytes += cost;
        page.push_back(std::move(a));
    }
    if (!page.empty()) send(std::move(page));
}

void RouterRecipients::send(std::vector<Asked> page)
{
    ipc::RouteRequest request;
    request.check_only = true;
    for (const Asked& a : page) request.recipients.push_back(a->address);
    call_(request.encode(), [self = std::weak_ptr(self_), page = std::move(page)](Result<ipc::Message> answer) {
        if (const auto alive = self.lock()) (*alive)->answered(page, std::move(answer));
    });
}

void RouterRecipients::answered(const std::vector<Asked>& asked, Result<ipc::Message> answer)
{
    Result<ipc::RouteReply> reply = answer ? ipc::RouteReply::decode(answer->body) : Result<ipc::RouteReply>(unexpected(answer.error()));
    if (reply && reply->routes.size() != asked.size()) reply = fail("router's answer has not as many routes as were asked for");
    // Whoever asks from here on hears what is kept, or asks anew.
    for (const Asked& a : asked)
        if (const auto at = open_.find(a->address); at != open_.end() && at->second == a) open_.erase(at);
    if (!reply) {
        log::warning("recipients cannot be checked: ", reply.error().text);
        for (const Asked& a : asked)
            for (const Done& done : a->done) done(away());
        return;
    }
    if (reply->generation != generation_) {
        generation_ = reply->generation;
        forget();
    }
    // All of them are known before the first session goes on and asks for its next one.
    for (std::size_t i = 0; i < asked.size(); ++i) keep(asked[i]->address, reply->routes[i]);
    for (std::size_t i = 0; i < asked.size(); ++i)
        for (const Done& done : asked[i]->done) done(reply->routes[i]);
}

}  // namespace veredus::reception
