#include "pop3d/house.h"

#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/login/place.h"
#include "pop3d/session.h"

namespace veredus::pop3d {

namespace {
constexpr std::string_view going_down = "-ERR [SYS/TEMP] Server shutting down.\r\n";
constexpr std::string_view kicked = "-ERR [SYS/TEMP] Disconnected by the administrator.\r\n";
} // namespace

Result<Settings> Settings::read(const conf::Values& values)
{
    Settings out;
    out.uidl = TRY(pop3::UidlFormat::parse(values.text("pop3_uidl_format")));
    out.options.capabilities = "EXPIRE NEVER\r\nIMPLEMENTATION veredus\r\n";
    TRY(out.options.set_workarounds(values.list("pop3_client_workarounds")));
    out.timeout = std::chrono::seconds(values.seconds("pop3_timeout"));
    out.lock = values.flag("pop3_lock_session");
    out.keep_flags = values.flag("pop3_no_flag_updates");
    out.reuse_xuidl = values.flag("pop3_reuse_xuidl");
    return out;
}

House::House(Loop& loop, login::SessionHost& host, conf::Values values, Settings settings)
    : loop_(loop), host_(host), values_(std::move(values)), settings_(std::move(settings))
{}

House::~House() = default;

// Opened for the first client, kept for the next ones.
Result<store::Folder*> House::inbox()
{
    if (!mailbox_) mailbox_ = TRY(login::open_mailbox(values_, host_.user()));
    if (!inbox_) inbox_ = TRY(mailbox_->open("INBOX"));
    return inbox_.get();
}

void House::on_client(ipc::Arrival arrival, Fd client)
{
    const uint64_t connection = arrival.connection;
    auto& session = sessions_[connection];
    session = std::make_unique<Session>(*this, std::move(arrival), std::move(client));
    session->begin();
}

void House::forget(uint64_t connection)
{
    loop_.defer([self = std::weak_ptr(self_), connection] {
        const auto house = self.lock();
        if (!house || (*house)->sessions_.erase(connection) == 0) return;
        (*house)->host_.gone(connection);
    });
}

std::vector<ipc::Presence> House::who() const
{
    std::vector<ipc::Presence> out;
    for (const auto& [number, session] : sessions_) out.push_back(session->presence());
    return out;
}

std::size_t House::kick(uint64_t connection)
{
    std::size_t told = 0;
    for (const auto& [number, session] : sessions_) {
        if (connection != 0 && connection != number) continue;
        session->part("Kicked", kicked);
        ++told;
    }
    return told;
}

void House::stop()
{
    for (const auto& [number, session] : sessions_) session->part("Server shutting down.", going_down);
}

void House::idle()
{
    if (!inbox_ || !inbox_->wants_apply()) return;
    if (auto applied = inbox_->apply(); !applied) log::warning("INBOX: ", printable(applied.error().text));
}

} // namespace veredus::pop3d
