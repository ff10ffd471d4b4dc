#include "imapd/house.h"

#include <malloc.h>

#include <algorithm>
#include <cerrno>

#include "config.h"
#include "imapd/client.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/login/place.h"

namespace veredus::imapd {

namespace {
constexpr std::chrono::milliseconds tidy_after{2000};  // of silence: flags go into file names
constexpr std::chrono::milliseconds tidy_more{20};    // after a piece of that
constexpr std::chrono::milliseconds retry_after{300}; // another program has an mbox locked
}

Result<Settings> Settings::read(const conf::Values& values)
{
    Settings out;
    out.session.append_limit = static_cast<uint64_t>(values.number("imap_append_limit"));
    out.session.version = VEREDUS_VERSION;
    out.folders = TRY(store::parse_default_folders(values.text("mailbox_default_folders")));
    out.timeout = std::chrono::seconds(values.seconds("imap_timeout"));
    out.notify = std::chrono::seconds(values.seconds("imap_idle_notify_interval"));
    return out;
}

House::House(Loop& loop, login::SessionHost& host, conf::Values values, Settings settings)
    : loop_(loop), host_(host), values_(std::move(values)), settings_(std::move(settings)),
      poll_(loop, [this] { poll(); }), tidy_(loop,
                                             [this] {
                                                 if (account_ && account_->tidy(false))
                                                     tidy_.start(tidy_more);
                                                 else
                                                     ::malloc_trim(0); // what the last answers were made in
                                                 note_busy();
                                                 spread();
                                             }),
      notify_(loop, [this] {
          for (const auto& [number, client] : clients_) client->notify();
          if (!clients_.empty()) notify_.start(settings_.notify);
      }),
      retry_(loop, [this] { retry_busy(); }), clients_(loop)
{
    if (watch_.fd() >= 0)
        watch_ready_ = std::make_unique<Watch>(loop_, watch_.fd(), readable, [this](unsigned) { look(watch_.read()); });
    settings_.session.on_id = [this](const std::string& fields) {
        log::info(host_.service(), '(', printable(host_.user().name), "): ID sent: ", fields);
    };
}

House::~House() = default;

// Opened for the first client, kept for the next ones.
Result<imap::Account*> House::account()
{
    if (!account_) {
        auto mailbox = TRY(login::open_mailbox(values_, host_.user()));
        account_ = std::make_unique<imap::Account>(store::with_default_folders(std::move(mailbox), settings_.folders));
    }
    return account_.get();
}

void House::on_client(ipc::Arrival arrival, Fd fd)
{
    const uint64_t connection = arrival.connection;
    clients_.add(connection, std::make_unique<Client>(*this, std::move(arrival), std::move(fd)));
    if (!poll_.armed()) poll_.start(store::Watch::poll_interval);
    if (!notify_.armed() && settings_.notify.count() > 0) notify_.start(settings_.notify);
}

void House::forget(uint64_t connection)
{
    clients_.forget(connection, [this, connection] {
        worked();
        host_.gone(connection);
    });
}

void House::later(uint64_t connection) { clients_.later(connection, &Client::go_on); }

void House::worked()
{
    watch_folders();
    note_busy();
    tidy_.start(tidy_after);
    if (spreading_ || clients_.size() < 2) return;
    spreading_ = true;
    clients_.defer([this] {
        spreading_ = false;
        spread();
    });
}

void House::spread()
{
    for (const auto& [number, client] : clients_) client->tell_news();
}

// --- what others do to the folders that are selected

void House::watch_folders()
{
    if (!account_) return;
    const auto& open = account_->open_folders();
    for (auto i = watched_.begin(); i != watched_.end();) {
        const auto found = open.find(i->first);
        const bool same = found != open.end() && found->second.get() == i->second.folder &&
                          found->second->visitors() > 0 && found->second->incarnation() == i->second.incarnation;
        if (same) {
            ++i;
        } else {
            watch_.remove(i->second.token);
            i = watched_.erase(i);
        }
    }
    for (const auto& [name, folder] : open) {
        if (folder->visitors() == 0 || watched_.contains(name)) continue;
        watched_[name] = {folder.get(), folder->incarnation(), watch_.add(folder->watch_points())};
        // What came between its last look and the watch.
        if (auto done = folder->refresh(); !done)
            log::warning("mailbox ", printable(name), ": ", printable(done.error().text));
    }
}

void House::look(const std::vector<int>& tokens)
{
    if (!account_ || tokens.empty()) return;
    for (const auto& [name, watched] : watched_) {
        if (!std::binary_search(tokens.begin(), tokens.end(), watched.token)) continue;
        const auto found = account_->open_folders().find(name);
        if (found == account_->open_folders().end()) continue;
        auto done = found->second->refresh();
        if (!done && done.error().code == ENOENT)
            found->second->lose();
        else if (!done)
            log::warning("mailbox ", printable(name), ": ", printable(done.error().text));
    }
    note_busy();
    spread();
}

// No event tells when a lock is given back.
void House::note_busy()
{
    if (!account_ || clients_.empty() || retry_.armed()) return;
    const auto& open = account_->open_folders();
    if (std::any_of(open.begin(), open.end(), [](const auto& f) { return f.second->visitors() > 0 && f.second->is_busy(); }))
        retry_.start(retry_after);
}

void House::retry_busy()
{
    if (!account_) return;
    for (const auto& [name, folder] : account_->open_folders()) {
        if (folder->visitors() == 0 || !folder->is_busy()) continue;
        if (auto done = folder->refresh(); !done)
            log::warning("mailbox ", printable(name), ": ", printable(done.error().text));
        if (folder->wants_apply() && !tidy_.armed()) tidy_.start(tidy_after);
    }
    note_busy();
    spread();
}

void House::poll()
{
    look(watch_.poll());
    for (const auto& [number, client] : clients_) client->check_silence();
    if (!clients_.empty()) poll_.start(store::Watch::poll_interval);
}

// --- the host's wishes

std::vector<ipc::Presence> House::who() const { return clients_.who(); }

std::size_t House::kick(uint64_t connection)
{
    return clients_.part(connection, "Kicked", "disconnected by the administrator");
}

void House::stop()
{
    stopping_ = true;
    clients_.part(0, "Server shutting down.", "the server shuts down");
}

void House::idle()
{
    poll_.stop();
    notify_.stop();
    retry_.stop();
    tidy_.stop();
    while (account_ && account_->tidy(false)) {} // a client who comes back soon finds his folders open
    watch_folders();
    ::malloc_trim(0);
}

} // namespace veredus::imapd
