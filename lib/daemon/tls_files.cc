// The files of TLS.
#include "lib/daemon/tls_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <set>

#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/daemon/roles.h"
#include "lib/table/source.h"

namespace veredus::daemon {

namespace {

constexpr std::size_t max_file = 1 << 20;
constexpr std::size_t max_names = 10'000;
constexpr int64_t day = 86'400;
constexpr int64_t warn_before = 14 * day;

// A certificate and its key, which may be one file.
void add_pair(TlsFiles& out, const conf::Values& values, const std::string& setting, const std::string& key_setting)
{
    const std::string certificate(values.text(setting)), key(values.text(key_setting));
    if (certificate.empty()) return;
    TlsChain chain{setting, {certificate}, false};
    if (!key.empty() && key != certificate) chain.files.push_back(key);
    out.chains.push_back(std::move(chain));
}

bool is_host_key(std::string_view name)
{
    if (name.starts_with('.')) name.remove_prefix(1);
    if (name.empty() || name.size() > 255) return false;
    for (const char c : name)
        if (!is_alnum(c) && c != '.' && c != '-' && c != '_') return false;
    return true;
}

void add_table(TlsFiles& out, const std::string& path, const ReadText& read)
{
    out.tables.push_back(path);
    const auto text = read(path);
    if (!text) return out.problems.push_back(cat("tls_server_sni_maps: ", text.error().text));
    table::Lines lines(*text);
    std::string line;
    for (unsigned number = 0; lines.next(line, number);) {
        auto words = split(line, " \t,");
        const std::string where = cat(path, ", line ", number);
        if (words.size() < 2 || !is_host_key(words[0])) {
            out.problems.push_back(cat(where, ": not \"host.name /file/with/key/and/chain.pem\""));
            continue;
        }
        if (out.names.size() >= max_names) return out.problems.push_back(cat(where, ": more than ", max_names, " names"));
        const std::string host = lower(words[0]);
        TlsChain chain{cat(path, ": ", host), {}, true};     // not the line, which is another one when one is put in above it
        bool good = true;
        for (std::size_t i = 1; i < words.size(); ++i) {
            good = good && words[i].starts_with('/');
            chain.files.emplace_back(words[i]);
        }
        if (good) out.names.emplace(host, std::move(chain));    // the first of equal names counts, as in every table
        else out.problems.push_back(cat(where, ": a file needs its whole path"));
    }
}

std::string chain_name(const TlsChain& chain)
{
    std::string name = cat(chain.setting, ' ');
    for (std::size_t i = 0; i < chain.files.size(); ++i) append(name, i ? ", " : "", chain.files[i]);
    return name;
}

// What was there under this name, or else for the same purpose.
const tls::Chain* chain_before(const TlsChain& chain, const std::vector<tls::Chain>& before)
{
    const tls::Chain* found = nullptr;
    for (const tls::Chain& old : before) {
        if (old.name == chain_name(chain)) return &old;
        if (!found && old.name.starts_with(cat(chain.setting, ' '))) found = &old;
    }
    return found;
}

Result<tls::Chain> read_chain(const TlsChain& chain, const ReadText& read, const std::vector<tls::Chain>& before)
{
    tls::Chain out;
    out.in_order = chain.in_order;
    out.name = chain_name(chain);
    for (const std::string& file : chain.files) {
        auto text = read(file);
        if (!text) return fail(cat(chain.setting, ": ", text.error().text));
        append(out.pem, *text, "\n");
    }
    // What is in it is looked at here, so that one bad chain does not take the others along.
    for (const tls::Chain& old : before)
        if (old.name == out.name && old.in_order == out.in_order && old.pem == out.pem) out.parsed = old.parsed;
    if (!out.parsed) TRY(tls::read(out));
    return out;
}

Result<void> write_private(const std::string& path, const std::string& text)
{
    const std::string draft = path + ".new";
    ::unlink(draft.c_str());
    const Fd fd(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return fail_errno(cat("create ", draft));
    if (auto written = write_all(fd.get(), text); !written || ::fsync(fd.get()) < 0) {
        const auto error = written ? fail_errno(cat("sync ", draft)).error : written.error();
        ::unlink(draft.c_str());
        return unexpected(error);
    }
    if (::rename(draft.c_str(), path.c_str()) < 0) return fail_errno(cat("rename ", draft, " to ", path));
    return {};
}

std::string date(int64_t seconds)
{
    const auto time = static_cast<time_t>(seconds);
    tm parts{};
    ::gmtime_r(&time, &parts);
    char text[40];
    const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
    return std::string(text, size);
}

}  // namespace

std::vector<std::string> TlsFiles::all() const
{
    std::set<std::string> set(tables.begin(), tables.end());
    for (const TlsChain& chain : chains) set.insert(chain.files.begin(), chain.files.end());
    for (const auto& [name, chain] : names) set.insert(chain.files.begin(), chain.files.end());
    if (!authorities.empty()) set.insert(authorities);
    return {set.begin(), set.end()};
}

Result<std::string> read_tls_file(const std::string& path) { return read_file(path, max_file); }

TlsFiles tls_files(const conf::Values& values, std::string_view prefix, const std::string& config_directory, const ReadText& read)
{
    TlsFiles out;
    const auto name = [&](const char* rest) { return cat(prefix, rest); };
    // smtpd_tls_chain_files is the newer way, and the others are not looked at when it is used (as with Postfix).
    if (const auto files = values.list(name("_tls_chain_files")); !files.empty()) {
        out.chains.push_back({name("_tls_chain_files"), files, true});
    } else {
        add_pair(out, values, name("_tls_cert_file"), name("_tls_key_file"));
        add_pair(out, values, name("_tls_eccert_file"), name("_tls_eckey_file"));
    }
    if (out.chains.empty()) {
        out.own = true;
        out.chains.push_back({"self-signed certificate", {own_certificate_path(config_directory)}, false});
    }
    if (values.flag(name("_tls_ask_ccert"))) out.authorities = values.text(name("_tls_CAfile"));
    for (const std::string& table : values.list("tls_server_sni_maps")) {
        const auto [type, path] = cut(table, ':');
        static constexpr std::string_view text_types[] = {"hash", "texthash", "lmdb", "btree", "cdb", "dbm"};
        bool is_text = false;
        for (const std::string_view t : text_types) is_text = is_text || iequals(type, t);
        if (is_text && path && path->starts_with('/')) add_table(out, std::string(*path), read);
        else out.problems.push_back(cat("tls_server_sni_maps: ", table, ": give a text file: hash:/path (lines of \"host.name /file.pem\")"));
    }
    return out;
}

Result<tls::ServerKeys> read_keys(const TlsFiles& files, const ReadText& read, std::vector<std::string>& problems, const tls::ServerKeys& before)
{
    tls::ServerKeys keys;
    const auto add = [&](std::vector<tls::Chain>& to, const TlsChain& chain, const std::vector<tls::Chain>& old) {
        auto read_one = read_chain(chain, read, old);
        if (read_one) return to.push_back(std::move(*read_one));
        const tls::Chain* kept = chain_before(chain, old);
        problems.push_back(cat(read_one.error().text, kept ? ": the certificate in force is kept" : ""));
        if (kept) to.push_back(*kept);
    };
    for (const TlsChain& chain : files.chains) add(keys.chains, chain, before.chains);
    for (const auto& [name, chain] : files.names) {
        const auto old = before.names.find(name);
        std::vector<tls::Chain> chains;
        add(chains, chain, old == before.names.end() ? std::vector<tls::Chain>() : old->second);
        if (!chains.empty()) keys.names.emplace(name, std::move(chains));
    }
    if (!files.authorities.empty()) {
        auto text = read(files.authorities);
        if (text) keys.ca_text = std::move(*text);
        else problems.push_back(cat("TLS authorities: ", text.error().text, "; no client certificate is trusted"));
    }
    if (keys.chains.empty()) return fail("there is no usable certificate");
    return keys;
}

std::string own_certificate_path(const std::string& config_directory) { return cat(config_directory, "/tls/self-signed.pem"); }

Result<std::string> make_own_certificate(const conf::Values& values, const std::string& config_directory, bool only_say)
{
    bool wanted = false;
    for (const Role& role : roles())
        if (role.tls()) wanted = wanted || tls_files(values, role.name, config_directory, [](const std::string&) { return Result<std::string>(std::string()); }).own;
    const std::string path = own_certificate_path(config_directory);
    if (!wanted || ::access(path.c_str(), F_OK) == 0) return std::string();
    const std::string host(values.text("myhostname"));
    std::string what = cat("make a self-signed certificate for ", host, ", ", path);
    if (only_say) return what;
    const auto pems = TRY(tls::make_self_signed(host));
    const std::string folder = cat(config_directory, "/tls");
    if (::mkdir(folder.c_str(), 0700) < 0 && errno != EEXIST) return fail_errno(cat("mkdir ", folder));
    TRY(write_private(path, pems.key + pems.certificate));
    return what;
}

std::string validity_line(const tls::CertificateFacts& facts, int64_t now, bool& urgent)
{
    const int64_t left = facts.not_after - now;
    urgent = left < warn_before;
    std::string line = cat(facts.chain, ": the ", facts.kind, " certificate of ", facts.host);
    if (left < 0) return cat(line, " has ended on ", date(facts.not_after), ": clients refuse it; renew it");
    append(line, " is valid until ", date(facts.not_after));
    if (urgent) append(line, ": that is in ", left / day, " days; renew it");
    return line;
}

}  // namespace veredus::daemon
