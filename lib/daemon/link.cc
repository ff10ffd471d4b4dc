// A link to a neighbour: asked of master, kept while the neighbour lives, asked for again with back-off when it died.
#include <algorithm>
#include <cerrno>
#include <deque>

#include "lib/base/text.h"
#include "lib/daemon/service.h"

namespace veredus::daemon {

using std::chrono::milliseconds;

namespace {
constexpr milliseconds first_retry{20};
constexpr milliseconds longest_retry{500};      // master answers such a question from its memory
constexpr milliseconds longest_wait{3000};      // a neighbour that starts or was restarted is back by then
constexpr std::size_t most_waiting = 1000;
// authd lets those who guess wait, on purpose: as many as it takes, so that nobody waits behind them here.
constexpr std::size_t credit = 1000, credit_of_authd = 24'000;
}  // namespace

struct Link::Private : std::enable_shared_from_this<Link::Private> {
    using Done = std::function<void(Result<ipc::Message>)>;
    struct Waiting {
        uint16_t type;
        std::string body;
        milliseconds deadline;
        Done done;
        ipc::Channel::Wanted wanted;
        bool last_try = false;
        int64_t until_us = 0;
    };
    Private(Loop& l, std::string r, uint32_t i) : loop(l), role(std::move(r)), instance(i), retry(l, [this] { ask(); }), patience(l, [this] { expire(); }) {}

    void ask()
    {
        // master's answer may come after the link is gone
        context().neighbour(role, instance, [weak = weak_from_this()](Result<Fd> fd) {
            if (const auto self = weak.lock()) self->answered(std::move(fd));
        });
    }

    void answered(Result<Fd> fd)
    {
        if (!fd) {
            retry.start(delay);
            delay = std::min(delay * 2, longest_retry);
            return;
        }
        connected_us = loop.now_us();
        ipc::Channel::User user;
        user.message = [this](ipc::Message message) {
            if (on_message) on_message(std::move(message));
        };
        user.closed = [weak = weak_from_this()](const std::string&) {
            if (const auto self = weak.lock()) self->lost();
        };
        channel = std::make_unique<ipc::Channel>(loop, std::move(*fd), std::move(user), role == "authd" ? credit_of_authd : credit);
        release();
        if (on_state) on_state(true);
    }

    void call(Waiting w)
    {
        // A channel whose end is noticed but not told yet takes questions to the grave.
        if (!channel || !channel->open()) return keep(std::move(w));
        if (w.last_try) return channel->call(w.type, std::move(w.body), {}, w.deadline, std::move(w.done), std::move(w.wanted));
        // A question that died with the neighbour is put to its successor, once: it may be what it died of.
        const auto copy = std::make_shared<Waiting>(std::move(w));
        channel->call(copy->type, copy->body, {}, copy->deadline, [weak = weak_from_this(), copy](Result<ipc::Message> answer) {
            const auto self = weak.lock();
            if (!self || answer || answer.error().code == ETIMEDOUT || answer.error().code == ECANCELED) return copy->done(std::move(answer));
            copy->last_try = true;
            self->keep(std::move(*copy));
        }, copy->wanted);
    }

    void keep(Waiting w)
    {
        if (waiting.size() >= most_waiting) drop_unwanted();
        if (waiting.size() >= most_waiting) return refuse(std::move(w.done));
        const milliseconds wait = std::min(w.deadline, longest_wait);
        w.until_us = loop.now_us() + std::chrono::microseconds(wait).count();
        waiting.push_back(std::move(w));
        if (!patience.armed()) patience.start(wait);
    }

    void drop_unwanted()
    {
        std::deque<Waiting> all;
        all.swap(waiting);
        for (Waiting& w : all) {
            if (w.wanted && !w.wanted()) refuse(std::move(w.done));
            else waiting.push_back(std::move(w));
        }
    }

    // Calls that were made while the neighbour was away, in order.
    void release()
    {
        patience.stop();
        std::deque<Waiting> all;
        all.swap(waiting);
        for (Waiting& w : all) call(std::move(w));
    }

    void expire()
    {
        while (!waiting.empty() && waiting.front().until_us <= loop.now_us()) {
            refuse(std::move(waiting.front().done));
            waiting.pop_front();
        }
        if (!waiting.empty()) patience.start(milliseconds((waiting.front().until_us - loop.now_us()) / 1000 + 1));
    }

    void refuse(Done done)
    {
        loop.defer([done = std::move(done), name = role] { done(fail(cat(name, " is not there at the moment"))); });
    }

    void lost()
    {
        const auto keep = shared_from_this();    // on_state may destroy the link
        channel.reset();
        // A neighbour that hangs up at once is not asked again at once, for ever.
        if (loop.now_us() - connected_us > std::chrono::microseconds(longest_retry).count()) delay = first_retry;
        retry.start(delay);
        delay = std::min(delay * 2, longest_retry);
        if (on_state) on_state(false);
    }

    Loop& loop;
    std::string role;
    uint32_t instance;
    milliseconds delay = first_retry;
    int64_t connected_us = 0;
    std::function<void(ipc::Message)> on_message;
    std::function<void(bool)> on_state;
    std::unique_ptr<ipc::Channel> channel;
    Timer retry;
    std::deque<Waiting> waiting;
    Timer patience;
};

Link::Link(Loop& loop, std::string role, uint32_t instance) : private_(std::make_shared<Private>(loop, std::move(role), instance)) {}

Link::~Link()
{
    // Whoever still holds Private for a moment must not call the owner back.
    private_->on_message = nullptr;
    private_->on_state = nullptr;
    private_->retry.stop();
    private_->channel.reset();
    // As with a channel: whoever made the calls may be gone with us, so nobody is called back.
    private_->patience.stop();
    private_->waiting.clear();
}

void Link::on_message(std::function<void(ipc::Message)> message) { private_->on_message = std::move(message); }
void Link::on_state(std::function<void(bool)> state) { private_->on_state = std::move(state); }
void Link::start() { private_->ask(); }
bool Link::connected() const { return private_->channel != nullptr; }
ipc::Channel* Link::channel() { return private_->channel.get(); }

void Link::call(uint16_t type, std::string body, std::span<const int> fds, milliseconds deadline, std::function<void(Result<ipc::Message>)> done,
                ipc::Channel::Wanted wanted)
{
    Private& p = *private_;
    if (fds.empty()) return p.call({type, std::move(body), deadline, std::move(done), std::move(wanted)});
    if (p.channel && p.channel->open()) return p.channel->call(type, std::move(body), fds, deadline, std::move(done), std::move(wanted));
    p.refuse(std::move(done));
}

Result<void> Link::send(uint16_t type, std::string body, std::span<const int> fds)
{
    if (!private_->channel) return fail(cat(private_->role, " is not there at the moment"));
    return private_->channel->send(type, std::move(body), fds);
}

}  // namespace veredus::daemon
