// Reading a passwd-file.
#include "lib/auth/passwd_file.h"

#include <arpa/inet.h>

#include <algorithm>

#include "lib/auth/mechanism.h"
#include "lib/auth/passwd_fields.h"
#include "lib/auth/password.h"
#include "lib/base/text.h"

namespace veredus::auth {

namespace {

constexpr std::size_t max_line = 16'384, max_problems = 20;

// 192.168.1.10/24 is 192.168.1.0/24.
std::string without_host_bits(std::string_view net)
{
    const auto [base, bits] = cut(net, '/');
    const auto address = net::Address::parse_ip(base, 0);
    std::string bytes = address ? address->ip_bytes() : std::string();
    const auto size = bits ? parse_number<unsigned>(*bits, static_cast<unsigned>(bytes.size() * 8)) : std::nullopt;
    if (bytes.empty() || !size) return std::string(net);
    for (std::size_t i = *size; i < bytes.size() * 8; ++i) bytes[i / 8] = static_cast<char>(bytes[i / 8] & ~(0x80 >> i % 8));
    char text[INET6_ADDRSTRLEN];
    return ::inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), text, sizeof text) ? cat(std::string_view(text), '/', *bits) : std::string(net);
}

Result<void> read_networks(std::string_view text, Found& found)
{
    for (const std::string_view net : split(text, ","))
        if (net != "local") found.allowed.push_back(TRY(net::Network::parse(without_host_bits(net))));    // Dovecot's own sockets
    if (found.allowed.empty()) found.standing = Found::Standing::locked;
    return {};
}

// Of Dovecot's extra fields those that decide a login; userdb_x and others are for other readers.
Result<void> read_extra(std::string_view extra, Found& found)
{
    for (const std::string_view item : split(extra, " \t")) {
        const auto [name, value] = cut(item, '=');
        const bool on = value.value_or("y") != "n";
        if (name == "nologin" && on) found.standing = Found::Standing::locked;
        if (name == "allow_nets" && value) TRY(read_networks(*value, found));
        if (name == "user" && value) {
            if (!is_user_name(*value) || value->find('%') != std::string_view::npos) return fail(cat(printable(item, 100), ": no user name"));
            found.user = *value;
        }
        if ((name == "proxy" || name == "proxy_maybe") && on) return fail(cat(name, ": sessions are not passed on to another server here"));
        if (name == "nopassword" && on) return fail("nopassword: nobody logs in without a password here");
    }
    return {};
}

Result<Found> read_line(std::string_view line)
{
    if (line.size() > max_line) return fail("the line is too long");
    const auto fields = passwd_fields(line);
    Found found;
    found.source = "passwd-file";
    found.user = fields[0];
    if (!is_user_name(found.user)) return fail("no user name at its beginning");
    if (fields.size() > 1) found.password = fields[1];
    TRY(check_form(found.password));
    if (fields.size() > 7) TRY(read_extra(fields[7], found));
    if (is_locked(found.password)) found.standing = Found::Standing::locked;
    return found;
}

}  // namespace

bool is_user_name(std::string_view user)
{
    if (user.empty() || user.size() > max_user || user[0] == '#' || user.find_first_of(":/") != std::string_view::npos || trim(user) != user) return false;
    const auto prepared = saslprep(user);
    return prepared && *prepared == user;
}

std::optional<std::pair<std::size_t, std::size_t>> find_line(std::string_view text, std::string_view user)
{
    for (std::size_t begin = 0; begin < text.size();) {
        std::size_t end = text.find('\n', begin);
        if (end == std::string_view::npos) end = text.size();
        std::string_view line = text.substr(begin, end - begin);
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (cut(line, ':').first == user) return std::pair{begin, begin + line.size()};
        begin = end + 1;
    }
    return std::nullopt;
}

std::optional<std::string> line_problem(std::string_view text, std::string_view user)
{
    const auto place = find_line(text, user);
    if (!place) return std::nullopt;
    const auto found = read_line(text.substr(place->first, place->second - place->first));
    if (found) return std::nullopt;
    return cat("line ", 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(place->first), '\n'), ": ", found.error().text);
}

std::shared_ptr<const PasswdFile> PasswdFile::parse(std::string_view text, std::string key, std::vector<std::string>* problems)
{
    auto file = std::make_shared<PasswdFile>();
    file->key_ = std::move(key);
    file->stamp_ = tls::hmac(tls::Digest::sha256, file->key_, text);
    unsigned number = 0;
    for (std::string_view line : split_on(text, '\n')) {
        ++number;
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (trim(line).empty() || line[0] == '#') continue;
        auto found = read_line(line);
        if (!found) {
            if (problems && problems->size() < max_problems) problems->push_back(cat("line ", number, ": ", found.error().text));
            continue;
        }
        std::string name(passwd_fields(line)[0]);      // found->user: as whom he logs in
        const auto [at, fresh] = file->users_.emplace(std::move(name), std::move(*found));    // of two lines the first counts, as in /etc/passwd
        if (!fresh || at->second.standing != Found::Standing::good) continue;
        const std::string& stored = at->second.password;
        const bool plain = stored_plain(stored).has_value();
        ++file->can_login_;
        if (plain) ++file->plain_;
        const auto count = [&](tls::Digest hash, std::size_t& usable, std::size_t& secrets, unsigned& without) {
            const bool secret = stored_scram(stored, hash).has_value();
            if (secret) ++secrets;
            if (plain || secret) ++usable;
            else if (without == 0) without = number;
        };
        count(tls::Digest::sha1, file->scram_sha1_, file->secrets_sha1_, file->without_sha1_);
        count(tls::Digest::sha256, file->scram_sha256_, file->secrets_sha256_, file->without_sha256_);
        file->forms_.push_back(stored);
    }
    return file;
}

bool PasswdFile::is_of(std::string_view text) const { return stamp_ == tls::hmac(tls::Digest::sha256, key_, text); }

std::string PasswdFile::without_scram(bool sha1) const
{
    const unsigned line = sha1 ? without_sha1_ : without_sha256_;
    return has_scram(sha1) && line > 0 ? cat("line ", line) : std::string();
}

Result<std::optional<Found>> PasswdFile::find(const std::string& user) const
{
    const auto at = users_.find(user);
    if (at == users_.end()) return std::optional<Found>();
    return std::optional<Found>(at->second);
}

std::string PasswdFile::likely_password(std::string_view user) const
{
    if (forms_.empty()) return "";
    const std::string mac = tls::hmac(tls::Digest::sha256, key_, user);
    uint64_t number = 0;
    for (int i = 0; i < 8; ++i) number = number << 8 | static_cast<unsigned char>(mac[static_cast<std::size_t>(i)]);
    return forms_[number % forms_.size()];
}

}  // namespace veredus::auth
