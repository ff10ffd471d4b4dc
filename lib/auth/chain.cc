// Judging passwords, in the same time whether there is such a user or not.
#include "lib/auth/chain.h"

#include "lib/auth/mechanism.h"
#include "lib/auth/password.h"
#include "lib/base/text.h"

namespace veredus::auth {

using ipc::AuthFailure;
using Standing = Found::Standing;

namespace {

Verdict trouble(const Error& error) { return {AuthFailure::internal, "passdb", error.text, {}}; }
Verdict unknown() { return {AuthFailure::unknown_user, "passdb", "unknown user", {}}; }

// What an account may do whose password was right.
void judge_standing(Verdict& verdict)
{
    if (verdict.found.standing == Standing::locked) {
        verdict.why = AuthFailure::locked;
        verdict.text = "account is locked";
    }
    if (verdict.found.standing == Standing::expired) {
        verdict.why = AuthFailure::expired;
        verdict.text = "account or password has expired";
    }
}

// "!$6$…": a locked account whose password is still there. Nothing when there is none to compare with.
std::string without_lock(const std::string& stored)
{
    const auto begin = stored.find_first_not_of('!');
    if (begin == std::string::npos) return "";
    std::string rest = stored.substr(begin);
    return is_locked(rest) || !check_form(rest) ? "" : rest;
}

}  // namespace

Result<std::optional<Found>> Chain::find(const std::vector<std::string>& names) const
{
    for (const std::string& name : names)
        for (const auto& passdb : list_)
            if (auto found = TRY(passdb->find(name))) return found;
    return std::optional<Found>();
}

// Users of one source would stand out if all unknown ones cost what another one's do. So a name costs what somebody of one of the
// sources costs, by a keyed hash: the same each time.
Chain::Cost Chain::cost_of(const std::string& name) const
{
    std::vector<Cost> costs;
    for (const auto& passdb : list_) {
        if (passdb->judges()) costs.push_back({"", passdb.get()});
        else if (std::string form = passdb->likely_password(name); !form.empty()) costs.push_back({std::move(form)});
    }
    if (costs.empty()) return {};
    const std::string mac = tls::hmac(tls::Digest::sha256, key_, cat("cost ", name));
    return std::move(costs[static_cast<unsigned char>(mac[0]) % costs.size()]);
}

const Passdb* Chain::a_judge() const
{
    for (const auto& passdb : list_)
        if (passdb->judges()) return passdb.get();
    return nullptr;
}

Verdict Chain::check(const std::vector<std::string>& names, std::string_view password) const { return judge(look(names, password), password); }

Verdict Chain::judge(Looked looked, std::string_view password) const
{
    using Ask = Looked::Ask;
    const Passdb* const asked = looked.ask == Ask::nobody ? nullptr : a_judge();
    if (!asked) return std::move(looked.verdict);
    Judgement judgement = asked->judge(looked.ask == Ask::judge ? looked.verdict.found.user : "", password);
    if (looked.ask == Ask::judge) {
        looked.verdict.why = judgement.why;
        looked.verdict.text = std::move(judgement.text);
    }
    return std::move(looked.verdict);
}

Chain::Looked Chain::look(const std::vector<std::string>& names, std::string_view password) const
{
    using Ask = Looked::Ask;
    if (names.empty()) return {unknown()};
    auto found = find(names);
    if (!found) return {trouble(found.error())};
    if (*found && (*found)->judged) return {{AuthFailure::internal, (*found)->source, "", std::move(**found)}, Ask::judge};
    std::string stored = *found ? without_lock((*found)->password) : "";
    const bool comparable = !stored.empty();
    // Who is not there, or has nothing to compare with, costs as much as somebody; however he is spelled.
    Cost cost = comparable ? Cost() : cost_of(names.back());
    if (!comparable) stored = std::move(cost.form);
    const Ask ask = cost.judge ? Ask::judge_for_show : Ask::nobody;
    const auto match = stored.empty() ? Result<bool>(false) : check_password(stored, password);
    tls::wipe(stored);
    if (!*found) return {unknown(), ask};
    Verdict verdict{AuthFailure::password_mismatch, (*found)->source, "Password mismatch", std::move(**found)};
    tls::wipe(verdict.found.password);
    if (!comparable) {
        // To the client it is a wrong password: that there is such an account is nobody's business.
        verdict.text = "account is locked";
        return {std::move(verdict), ask};
    }
    if (!match) return {{AuthFailure::internal, verdict.source, match.error().text, std::move(verdict.found)}};
    if (!*match) return {std::move(verdict)};
    verdict.why = AuthFailure::none;
    verdict.text.clear();
    judge_standing(verdict);
    return {std::move(verdict)};
}

Verdict Chain::check_digest(const std::vector<std::string>& names, std::string_view timestamp, std::string_view digest) const
{
    if (names.empty()) return unknown();
    auto found = find(names);
    if (!found) return trouble(found.error());
    const std::string stored = *found ? without_lock((*found)->password) : cost_of(names.back()).form;
    auto plain = stored_plain(stored);
    std::string secret = cat(timestamp, plain.value_or(""));
    const std::string own = tls::md5_hex(secret);
    tls::wipe(secret);
    if (!*found) return unknown();
    Verdict verdict{AuthFailure::password_mismatch, (*found)->source, "Password mismatch", std::move(**found)};
    tls::wipe(verdict.found.password);
    if (own.empty()) return {AuthFailure::internal, verdict.source, "this OpenSSL has no MD5, which APOP needs", std::move(verdict.found)};
    if (!plain) {
        verdict.text = stored.empty() ? "account is locked" : "no password in clear, as APOP needs it";
        return verdict;
    }
    tls::wipe(*plain);
    if (!tls::equal_time(own, digest)) return verdict;
    verdict.why = AuthFailure::none;
    verdict.text.clear();
    judge_standing(verdict);
    return verdict;
}

std::string Chain::salt_of(const std::string& name, std::size_t size) const
{
    std::string salt = tls::hmac(tls::Digest::sha256, key_, cat("salt ", name));
    while (salt.size() < size) salt += tls::hmac(tls::Digest::sha256, key_, cat("salt ", salt));
    return salt.substr(0, size);
}

// The same for a name each time, and shaped like the secrets that are there.
ScramSecret Chain::made_up(const std::string& name, tls::Digest hash) const
{
    std::optional<std::string> plain;
    std::optional<ScramSecret> other;
    for (const auto& passdb : list_) {
        const std::string form = passdb->likely_password(name);
        plain = stored_plain(form);
        other = stored_scram(form, hash);
        if (plain || other) break;
    }
    if (plain) (void)ScramSecret::derive(hash, *plain, salt_of(name), scram_iterations);
    std::string salt = salt_of(name, other ? other->salt.size() : usual_salt);
    const std::size_t size = tls::digest_size(hash);
    return {hash, other ? other->iterations : scram_iterations, std::move(salt), std::string(size, '\1'), std::string(size, '\2')};
}

Secret Chain::scram(const std::vector<std::string>& names, tls::Digest hash) const
{
    Secret out;
    if (names.empty()) return {unknown(), made_up("", hash), false};
    auto found = find(names);
    if (!found) return {trouble(found.error()), {}, false};
    if (!*found) return {unknown(), made_up(names.back(), hash), false};
    const std::string stored = without_lock((*found)->password);
    const bool locked = stored.empty() && !(*found)->judged;
    out.verdict = {AuthFailure::none, (*found)->source, "", std::move(**found)};
    tls::wipe(out.verdict.found.password);
    judge_standing(out.verdict);
    if (auto secret = stored_scram(stored, hash)) {
        out.secret = std::move(*secret);
        out.real = true;
    } else if (const auto plain = stored_plain(stored)) {
        out.secret = ScramSecret::derive(hash, saslprep(*plain).value_or(*plain), salt_of(names.back()), scram_iterations);
        out.real = true;
    } else {
        out.secret = made_up(names.back(), hash);
        out.verdict.why = AuthFailure::password_mismatch;
        out.verdict.text = locked ? "account is locked" : "no secret for SCRAM: `veredus passwd` makes one, or let the client use PLAIN";
    }
    return out;
}

bool Chain::all_scram(bool sha1) const
{
    for (const auto& passdb : list_)
        if (!passdb->all_scram(sha1)) return false;
    return !list_.empty();
}

bool Chain::all_plain() const
{
    for (const auto& passdb : list_)
        if (!passdb->all_plain()) return false;
    return !list_.empty();
}

std::string Chain::stamp() const
{
    std::string out;
    for (const auto& passdb : list_) append(out, passdb->stamp(), '\n');
    return out;
}

}  // namespace veredus::auth
