// `veredus queue` and `veredus flush`: a person's or a script's hands in the queue, over the public socket.
#include "master/veredus/queue.h"

#include <sysexits.h>

#include <algorithm>
#include <cstdio>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/ipc/control.h"
#include "lib/ipc/listing.h"
#include "lib/ipc/maildrop_listing.h"
#include "lib/mail/date.h"
#include "lib/queue/file.h"
#include "lib/queue/id.h"
#include "master/veredus/commands.h"
#include "master/veredus/report.h"

namespace veredus::admin {

namespace {

struct VerbRow {
    const char* name;
    QueueCommand::Verb verb;
    ipc::Act act;
    const char* done;
};
constexpr VerbRow verbs[] = {
    {"list", QueueCommand::Verb::list, ipc::Act::flush, ""},
    {"show", QueueCommand::Verb::show, ipc::Act::flush, ""},
    {"flush", QueueCommand::Verb::act, ipc::Act::flush, "Scheduled for delivery"},
    {"hold", QueueCommand::Verb::act, ipc::Act::hold, "Placed on hold"},
    {"release", QueueCommand::Verb::act, ipc::Act::release, "Released from hold"},
    {"delete", QueueCommand::Verb::act, ipc::Act::remove, "Deleted"},
    {"requeue", QueueCommand::Verb::act, ipc::Act::requeue, "Requeued"},
};

using Text = std::string ipc::Filter::*;
using Age = int64_t ipc::Filter::*;
constexpr std::pair<const char*, Text> text_filters[] = {
    {"--sender", &ipc::Filter::sender}, {"--recipient", &ipc::Filter::recipient}, {"--reason", &ipc::Filter::reason},
    {"--site", &ipc::Filter::site},     {"--state", &ipc::Filter::state},
};
constexpr std::pair<const char*, Age> age_filters[] = {
    {"--older-than", &ipc::Filter::older_than_s}, {"--younger-than", &ipc::Filter::younger_than_s},
};

Result<void> set_filter(ipc::Filter& filter, const std::string& name, const std::string& value)
{
    for (const auto& [option, member] : text_filters)
        if (name == option) {
            if (value.empty()) return fail(cat(name, ": there is no value"));
            filter.*member = value;
            const bool known = value == "active" || value == "deferred" || value == "hold" || value == "incoming";
            if (name == "--state" && !known) return fail("--state: active, deferred, hold or incoming");
            return {};
        }
    for (const auto& [option, member] : age_filters)
        if (name == option) {
            const auto seconds = parse_age(value);
            if (!seconds) return fail(cat(name, " ", printable(value, 40), ": say 90s, 30m, 12h or 5d"));
            filter.*member = *seconds;
            return {};
        }
    return fail(cat(printable(name, 40), ": no such option"));
}

bool put(std::string_view text) { return std::fwrite(text.data(), 1, text.size(), stdout) == text.size(); }

int finished(bool written)
{
    if (written && std::fflush(stdout) == 0) return EX_OK;
    complain("writing to standard output failed");
    return EX_IOERR;
}

int list(ipc::QueueClient& client, const std::string& spool, const QueueCommand& command)
{
    ipc::QueueText text;
    bool written = true;
    const auto listed = ipc::list_queue(client, spool, command.filter, [&](const ipc::Listed& mail) {
        written = put(command.json ? ipc::queue_json(mail) : text.entry(mail));
        return written;
    });
    if (!listed) {
        complain("%s", listed.error().text.c_str());
        return EX_UNAVAILABLE;
    }
    if (!command.json) written = written && put(text.end());
    return finished(written);
}

std::string envelope_text(const std::string& id, const queue::MailFile& mail)
{
    const mail::Envelope& e = mail.envelope;
    std::string out;
    const auto row = [&](std::string_view name, std::string_view value) {
        if (!value.empty()) append(out, name, ": ", printable(value, 2000), "\n");
    };
    row("queue_id", id);
    append(out, "sender: <", printable(e.sender.text()), ">\n");
    row("arrival", mail::date_rfc5322(e.arrival_us));
    append(out, "size: ", mail.layout.content_size(), "\n");
    if (!e.client_address.empty()) row("client", cat(e.client_name, "[", e.client_address, "]"));
    row("helo", e.helo);
    row("protocol", e.protocol);
    row("auth_user", e.auth_user);
    if (e.origin == mail::Origin::local) append(out, "uid: ", e.uid, "\n");
    row("envid", e.envid);
    for (const mail::Recipient& r : e.recipients) append(out, "recipient: <", printable(r.address.text()), ">\n");
    return out;
}

// The mail as it will leave, with the line ends of this system.
Result<bool> put_message(const Fd& file, const queue::Layout& layout)
{
    const auto unix_lines = [](std::string s) {
        std::size_t to = 0;
        for (std::size_t i = 0; i < s.size(); ++i)
            if (!(s[i] == '\r' && i + 1 < s.size() && s[i + 1] == '\n')) s[to++] = s[i];
        s.resize(to);
        return s;
    };
    if (!put(unix_lines(TRY(queue::read_header(file, layout, queue::max_header_size)) + "\r\n"))) return false;
    constexpr std::size_t piece = 1 << 20;
    std::string held;      // a CR at the end of a piece waits for its LF
    for (uint64_t at = 0; at < layout.body_size; at += piece) {
        const auto size = static_cast<std::size_t>(std::min<uint64_t>(piece, layout.body_size - at));
        std::string text = held + TRY(pread_exact(file.get(), static_cast<off_t>(layout.body_offset + at), size));
        held.clear();
        if (text.ends_with('\r') && at + size < layout.body_size) {
            held = "\r";
            text.pop_back();
        }
        if (!put(unix_lines(std::move(text)))) return false;
    }
    return true;
}

int show(ipc::QueueClient& client, const QueueCommand& command)
{
    for (const std::string& id : command.filter.ids) {
        auto answer = client.call(ipc::QueueType::content, id);
        if (!answer) {
            complain("%s", answer.error().text.c_str());
            return EX_UNAVAILABLE;
        }
        const auto status = ipc::Status::decode(answer->body);
        if (!status || status->code != ipc::Code::ok || answer->fds.size() != 1) {
            complain("%s: %s", id.c_str(), status ? printable(status->text).c_str() : status.error().text.c_str());
            return status && status->code == ipc::Code::refused ? EX_NOPERM : EX_UNAVAILABLE;
        }
        const auto mail = queue::read_mail_file(disk::posix_disk(), answer->fds[0], false);
        if (!mail) {
            complain("%s: %s", id.c_str(), mail.error().text.c_str());
            return EX_DATAERR;
        }
        bool written = !command.envelope || put(envelope_text(id, *mail));
        if (command.envelope && command.message) written = written && put("\n");
        if (command.message && written) {
            const auto message = put_message(answer->fds[0], mail->layout);
            if (!message) {
                complain("%s: %s", id.c_str(), message.error().text.c_str());
                return EX_IOERR;
            }
            written = *message;
        }
        if (const int bad = finished(written)) return bad;
    }
    return EX_OK;
}

int act(ipc::QueueClient& client, const QueueCommand& command)
{
    const auto reply = client.act({command.act, command.filter, command.all});
    if (!reply) {
        complain("%s", reply.error().text.c_str());
        return EX_UNAVAILABLE;
    }
    if (reply->code != static_cast<uint32_t>(ipc::Code::ok)) {
        complain("%s", reply->text.empty() ? "the queue manager refused" : printable(reply->text).c_str());
        return reply->code == static_cast<uint32_t>(ipc::Code::refused) ? EX_NOPERM : EX_UNAVAILABLE;
    }
    const bool written = put(command.json ? done_json(command.act, reply->count) : done_text(command.act, reply->count));
    if (!reply->text.empty()) complain("%s", printable(reply->text).c_str());
    // Somebody named mails that are not there: say so to a script.
    if (reply->count < command.filter.ids.size()) {
        complain("%zu of the mails named were not found, or nothing had to be done", static_cast<std::size_t>(command.filter.ids.size() - reply->count));
        return EX_DATAERR;
    }
    return finished(written);
}

int run(const Common& common, const QueueCommand& command)
{
    const auto values = load_settings(common, true);
    if (!values) return EX_CONFIG;
    auto client = ipc::QueueClient::connect(std::string(values->text("run_directory")));
    if (!client) {
        complain("%s", client.error().text.c_str());
        return EX_UNAVAILABLE;
    }
    switch (command.verb) {
    case QueueCommand::Verb::list: return list(*client, std::string(values->text("queue_directory")), command);
    case QueueCommand::Verb::show: return show(*client, command);
    case QueueCommand::Verb::act: return act(*client, command);
    }
    return EX_SOFTWARE;
}

int parse_and_run(const Common& common, const char* name, std::vector<std::string> words)
{
    if (std::find(words.begin(), words.end(), "--help") != words.end()) return usage(name, true);
    const auto command = parse_queue_command(words);
    if (command) return run(common, *command);
    complain("%s", command.error().text.c_str());
    return usage(name, false);
}

}  // namespace

std::optional<int64_t> parse_age(std::string_view text)
{
    if (text.empty()) return std::nullopt;
    static constexpr std::pair<char, int64_t> units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86'400}, {'w', 604'800}};
    int64_t unit = 1;
    for (const auto& [letter, seconds] : units)
        if (text.back() == letter) {
            unit = seconds;
            text.remove_suffix(1);
            break;
        }
    const auto number = parse_number<uint32_t>(text);
    if (!number || *number == 0) return std::nullopt;
    return *number * unit;
}

std::string done_text(ipc::Act act, uint64_t count)
{
    for (const VerbRow& row : verbs)
        if (row.verb == QueueCommand::Verb::act && row.act == act) return cat(row.done, ": ", count, count == 1 ? " message\n" : " messages\n");
    return {};
}

std::string done_json(ipc::Act act, uint64_t count)
{
    for (const VerbRow& row : verbs)
        if (row.verb == QueueCommand::Verb::act && row.act == act) return cat("{\"verb\": \"", row.name, "\", \"count\": ", count, "}\n");
    return {};
}

Result<QueueCommand> parse_queue_command(const std::vector<std::string>& words)
{
    if (words.empty()) return fail("what shall be done with the queue?");
    const auto row = std::find_if(std::begin(verbs), std::end(verbs), [&](const VerbRow& v) { return words[0] == v.name; });
    if (row == std::end(verbs)) return fail(cat(printable(words[0], 40), ": no such verb"));
    QueueCommand command;
    command.verb = row->verb;
    command.act = row->act;
    for (std::size_t i = 1; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (word == "ALL" || word == "--all") command.all = true;
        else if (word == "--json" || word == "-j") command.json = true;
        else if (word == "--envelope" || word == "-e") command.message = false;
        else if (word == "--message" || word == "-m") command.envelope = false;
        else if (word.starts_with("--")) {
            const auto [name, value] = cut(word, '=');
            if (!value && i + 1 == words.size()) return fail(cat(printable(word, 40), ": there is no value"));
            TRY(set_filter(command.filter, std::string(name), value ? std::string(*value) : words[++i]));
        } else if (queue::is_queue_id(upper(word))) {
            command.filter.ids.push_back(upper(word));
        } else {
            return fail(cat(printable(word, 40), ": neither a queue ID (16 hexadecimal digits) nor an option"));
        }
    }
    if (command.verb == QueueCommand::Verb::show && command.filter.ids.empty()) return fail("show: name the mail by its queue ID");
    const bool filtered = command.filter.any();
    // A flush harms nobody; for the others an empty choice is an oversight.
    if (command.verb == QueueCommand::Verb::act && command.act == ipc::Act::flush && !filtered) command.all = true;
    if (command.verb == QueueCommand::Verb::act && !filtered && !command.all) return fail(cat(words[0], ": which mails? Name IDs, use an option to choose, or say ALL"));
    return command;
}

int queue(const Common& common, int argc, char** argv)
{
    return parse_and_run(common, "queue", std::vector<std::string>(argv + 1, argv + argc));
}

int flush(const Common& common, int argc, char** argv)
{
    std::vector<std::string> words(argv, argv + argc);
    words[0] = "flush";
    return parse_and_run(common, "flush", std::move(words));
}

}  // namespace veredus::admin
