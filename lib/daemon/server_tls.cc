// The TLS of a listening role.
#include "lib/daemon/server_tls.h"

#include <algorithm>
#include <set>
#include <utility>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::daemon {

namespace {

constexpr std::size_t max_file = 1 << 20;
// Whoever renews a certificate writes it and its key one after the other.
constexpr std::chrono::milliseconds settle_time{1000};
constexpr std::chrono::hours between_looks{24};
constexpr std::string_view file_mark = "tls:";

std::string mark_of(const tls::CertificateFacts& facts) { return cat(facts.chain, '\n', facts.host, '\n', facts.kind, '\n', facts.not_after); }

int64_t now_seconds() { return system_clock().wall_us() / us_per_second; }

}  // namespace

Result<std::string> ServerTls::text_of(const std::string& path) const
{
    const auto found = texts_.find(path);
    if (found == texts_.end()) return fail(cat(path, ": is not there, or cannot be read"));
    return found->second;
}

void ServerTls::before_jail(const conf::Values& values, const Place& place)
{
    values_ = values;
    config_directory_ = place.config_directory;
    speaks_ = place.instance == 0;
    for (const std::string& path : tls_files(values_, prefix_, config_directory_, read_tls_file).all())
        if (auto text = read_tls_file(path)) texts_[path] = std::move(*text);
    put_into_force(speaks_ && !place.quiet);
}

void ServerTls::start(Loop& loop, std::function<void()> changed)
{
    changed_ = std::move(changed);
    settle_ = std::make_unique<Timer>(loop, [this] {
        put_into_force(speaks_);
        if (changed_) changed_();
    });
    daily_ = std::make_unique<Timer>(loop, [this] { look_at_clock(); });
    daily_->start(between_looks);
}

bool ServerTls::on_file(const std::string& name, const Fd& fd)
{
    if (name == "ticket-keys") {
        const auto ring = read_all(fd.get(), tls::max_ticket_keys * tls::ticket_key_size);
        const auto set = ring ? context_->set_ticket_keys(*ring) : Result<void>(unexpected(ring.error()));
        if (!set) log::warning("TLS ticket keys: ", set.error().text, "; sessions are resumed in this process only");
        return true;
    }
    if (!name.starts_with(file_mark)) return false;
    const std::string path = name.substr(file_mark.size());
    auto text = read_all(fd.get(), max_file);
    if (!text) {
        log::warning(path, ": ", text.error().text);
        return true;
    }
    const auto known = texts_.find(path);
    if (known != texts_.end() && known->second == *text) return true;
    texts_[path] = std::move(*text);
    if (settle_ && !settle_->armed()) settle_->start(settle_time);
    return true;
}

void ServerTls::reload(const conf::Values& values)
{
    values_ = values;
    if (settle_ && !settle_->armed()) settle_->start(settle_time);
}

void ServerTls::put_into_force(bool aloud)
{
    const auto read = [this](const std::string& path) { return text_of(path); };
    const TlsFiles files = tls_files(values_, prefix_, config_directory_, read);
    const auto used = files.all();
    std::erase_if(texts_, [&](const auto& text) { return !std::binary_search(used.begin(), used.end(), text.first); });
    std::vector<std::string> problems = files.problems;
    auto keys = read_keys(files, read, problems, keys_);
    if (keys) {
        keys->ask_client = values_.flag(cat(prefix_, "_tls_ask_ccert"));
        keys->kernel = values_.flag("tls_ktls");
    }
    auto facts = keys ? context_->use(*keys) : Result<std::vector<tls::CertificateFacts>>(unexpected(keys.error()));
    if (!facts) problems.push_back(cat("TLS: ", facts.error().text, ready() ? ": the certificate in force is kept" : files.own ? ": `veredus setup` makes one" : ": mail comes in clear only"));
    if (aloud)
        for (const std::string& problem : problems)
            if (std::find(said_.begin(), said_.end(), problem) == said_.end()) log::warning(problem);
    said_ = std::move(problems);
    if (keys) keys_ = std::move(*keys);
    if (!facts) return;
    // Of a thousand certificates the one that is new is of interest.
    const auto before = std::exchange(facts_, std::move(*facts));
    if (!aloud) return;
    std::set<std::string> told;
    for (const auto& fact : before) told.insert(mark_of(fact));
    for (const auto& fact : facts_) {
        if (told.contains(mark_of(fact))) continue;
        bool urgent = false;
        const std::string line = validity_line(fact, now_seconds(), urgent);
        if (urgent) log::warning(line);
        else log::info(line);
    }
}

void ServerTls::look_at_clock()
{
    daily_->start(between_looks);
    if (!speaks_) return;
    for (const auto& fact : facts_) {
        bool urgent = false;
        const std::string line = validity_line(fact, now_seconds(), urgent);
        if (urgent) log::warning(line);
    }
}

}  // namespace veredus::daemon
