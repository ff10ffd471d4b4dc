#include "pop3d/house.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/login/place.h"
#include "lib/store/dovecot.h"
#include "lib/store/pieces.h"
#include "lib/tls/digest.h"
#include "pop3d/session.h"

namespace veredus::pop3d {

namespace {
constexpr std::size_t max_uidlist = 1u << 29;
constexpr std::string_view going_down = "-ERR [SYS/TEMP] Server shutting down.\r\n";
constexpr std::string_view kicked = "-ERR [SYS/TEMP] Disconnected by the administrator.\r\n";

Result<std::string> read_deleted_flag(const conf::Values& values)
{
    std::string flag(values.text("pop3_deleted_flag"));
    if (!flag.empty() && !store::is_keyword(flag)) return fail(cat("pop3_deleted_flag = ", printable(flag, 100), ": no keyword of IMAP, as $POP3Deleted is"));
    return flag;
}
} // namespace

Result<Settings> Settings::read(const conf::Values& values)
{
    Settings out;
    out.uidl = TRY(pop3::UidlFormat::parse(values.text("pop3_uidl_format"), tls::md5_hex));
    out.login_delay_s = values.seconds("pop3_login_delay");
    out.options.capabilities = "EXPIRE NEVER\r\nIMPLEMENTATION veredus\r\n";
    if (out.login_delay_s > 0) append(out.options.capabilities, "LOGIN-DELAY ", out.login_delay_s, "\r\n");
    TRY(out.options.set_workarounds(values.list("pop3_client_workarounds")));
    out.timeout = std::chrono::seconds(values.seconds("pop3_timeout"));
    out.lock = values.flag("pop3_lock_session");
    out.keep_flags = values.flag("pop3_no_flag_updates");
    out.reuse_xuidl = values.flag("pop3_reuse_xuidl");
    out.deleted_flag = TRY(read_deleted_flag(values));
    return out;
}

House::House(Loop& loop, login::SessionHost& host, conf::Values values, Settings settings)
    : loop_(loop), host_(host), values_(std::move(values)), settings_(std::move(settings)), sessions_(loop)
{}

House::~House() = default;

// Opened for the first client, kept for the next ones.
Result<store::Folder*> House::inbox()
{
    if (!mailbox_) mailbox_ = TRY(login::open_mailbox(values_, host_.user()));
    if (!inbox_) inbox_ = TRY(mailbox_->open("INBOX"));
    return inbox_.get();
}

const Drop::Names& House::names()
{
    if (names_) return *names_;
    names_.emplace();
    names_->format = settings_.uidl;
    names_->reuse = settings_.reuse_xuidl;
    const auto place = login::place_of(values_, host_.user());
    names_->mbox = place && !place->path.ends_with('/');
    if (!place || names_->mbox) return *names_;
    const auto text = read_file(cat(place->path, "dovecot-uidlist"), max_uidlist);
    if (!text) {
        if (text.error().code != ENOENT) log::warning("UIDLs of Dovecot: ", printable(text.error().text));
        return *names_;
    }
    auto list = store::parse_dovecot_uidlist(*text);
    if (!list) return *names_;
    for (auto& entry : list->entries) {
        if (!pop3::is_uidl(entry.uidl)) entry.uidl.clear();
        if (!entry.uidl.empty() || !entry.guid.empty()) names_->noted[std::move(entry.name)] = {std::move(entry.uidl), std::move(entry.guid)};
    }
    return *names_;
}

bool House::too_early()
{
    if (settings_.login_delay_s == 0) return false;
    const auto place = login::place_of(values_, host_.user());
    if (!place || !mailbox_) return false;
    const std::string& home = place->path.ends_with('/') ? place->path : place->home;
    const std::string file = cat(home, home.ends_with('/') ? "" : "/", ".veredus/pop3-login");
    struct stat st {};
    const int64_t now = system_clock().wall_us() / us_per_second;
    // A time to come is one of a clock that was wrong.
    if (::lstat(file.c_str(), &st) == 0 && st.st_mtim.tv_sec <= now && now - st.st_mtim.tv_sec < settings_.login_delay_s) return true;
    const Fd mark(::open(file.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
    if (!mark || ::futimens(mark.get(), nullptr) != 0) log::warning("pop3_login_delay: ", fail_errno(printable(file)).error.text);
    return false;
}

void House::on_client(ipc::Arrival arrival, Fd client)
{
    const uint64_t connection = arrival.connection;
    sessions_.add(connection, std::make_unique<Session>(*this, std::move(arrival), std::move(client)));
}

void House::forget(uint64_t connection)
{
    sessions_.forget(connection, [this, connection] { host_.gone(connection); });
}

std::vector<ipc::Presence> House::who() const { return sessions_.who(); }

std::size_t House::kick(uint64_t connection)
{
    return sessions_.part(connection, "Kicked", kicked);
}

void House::stop()
{
    sessions_.part(0, "Server shutting down.", going_down);
}

void House::idle()
{
    if (!inbox_ || !inbox_->wants_apply()) return;
    if (auto applied = store::apply_all(*inbox_); !applied) log::warning("INBOX: ", printable(applied.error().text));
}

} // namespace veredus::pop3d
