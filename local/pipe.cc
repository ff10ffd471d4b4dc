// The worker's way to a command of pipe_transports (pipe(8) of Postfix): words, header lines on top, and what its end means.
#include <algorithm>

#include "lib/base/text.h"
#include "lib/mail/address.h"
#include "local/worker.h"

namespace veredus::local {

namespace {

using ipc::Outcome;

std::string folded(std::string_view text, const conf::PipeTransport& pipe)
{
    const auto at = text.rfind('@');
    if (at == std::string_view::npos) return pipe.lower_user ? lower(text) : std::string(text);
    const std::string_view local = text.substr(0, at), domain = text.substr(at);
    return cat(pipe.lower_user ? lower(local) : std::string(local), pipe.lower_domain ? lower(domain) : std::string(domain));
}

std::string line_of(std::string_view text)
{
    std::string out(text);
    for (char& c : out)
        if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '_';
    return out;
}

}  // namespace

void Worker::to_pipe(const Item& item, const conf::PipeTransport& pipe)
{
    const ipc::Attempt& attempt = item.job->attempt;
    const ipc::Target& target = *item.target;
    const auto say = [&](Outcome outcome, const char* dsn, std::string text) {
        ipc::Verdict v;
        v.outcome = outcome;
        v.dsn = dsn;
        v.text = printable(text);
        answer(item, std::move(v));
    };
    if (target.kind != queue::Child::Kind::address || pipe.user != person_.user) return say(Outcome::deferred, "4.3.0", "not a recipient of this transport");
    if (pipe.size && attempt.layout.content_size() > pipe.size)
        return say(Outcome::failed, "5.2.3", cat("message size ", attempt.layout.content_size(), " exceeds size limit ", pipe.size, " of service ", pipe.name));
    const auto& earlier = item.job->delivered_to;
    if (pipe.delivered_to && std::any_of(earlier.begin(), earlier.end(), [&](const std::string& one) { return iequals(one, target.address); }))
        return say(Outcome::failed, "5.4.6", cat("mail forwarding loop for ", target.address));
    const Facts facts = facts_of(item);
    const std::string sender = facts.sender.empty() ? pipe.null_sender : folded(facts.sender, pipe), recipient = folded(target.address, pipe);
    const std::string original = target.original.empty() ? target.address : target.original;
    const std::string local = recipient.substr(0, recipient.rfind('@'));
    const struct {
        std::string_view name;
        std::string value;
    } values[] = {
        {"client_address", facts.client_address}, {"client_helo", facts.helo}, {"client_hostname", facts.client_name}, {"client_protocol", facts.protocol},
        {"domain", folded(cat('@', item.domain), pipe).substr(1)}, {"extension", pipe.lower_user ? lower(item.extension) : item.extension}, {"mailbox", local},
        {"nexthop", attempt.nexthop}, {"original_recipient", original}, {"queue_id", attempt.queue_id}, {"recipient", recipient},
        {"sasl_username", facts.auth_user}, {"sender", sender}, {"size", cat(attempt.layout.content_size())}, {"user", pipe.lower_user ? lower(item.user) : item.user},
    };
    const auto value = [&](std::string_view name) {
        const auto found = std::find_if(std::begin(values), std::end(values), [name](const auto& v) { return v.name == name; });
        return found == std::end(values) ? std::string() : line_of(found->value);
    };
    std::vector<std::string> words;
    for (const std::string& word : pipe.argv) {
        auto expanded = conf::expand_pipe_word(word, value);
        if (!expanded) return say(Outcome::failed, "5.1.3", expanded.error().text);
        words.push_back(std::move(*expanded));
    }
    store::Content mail = content(item);
    if (!pipe.from_line) mail.from_line.clear();
    mail.head.clear();
    if (pipe.return_path) append(mail.head, "Return-Path: <", line_of(facts.sender), ">\n");
    if (pipe.original_to) append(mail.head, "X-Original-To: ", line_of(original), '\n');
    if (pipe.delivered_to) append(mail.head, "Delivered-To: ", line_of(recipient), '\n');
    mail.head += item.job->head;
    CommandRules rules = rules_.command;
    rules.directory = pipe.directory;
    if (pipe.time_limit_s > 0) rules.time_limit = std::chrono::seconds(pipe.time_limit_s);
    ipc::Verdict v = judge(run_words(words, command_environment(person_, facts, rules_.exported, rules_.command.filter), rules, mail), pipe.argv[0]);
    if (v.outcome == Outcome::delivered) v.text = cat("delivered via ", pipe.name, " service");
    answer(item, std::move(v));
    flush();    // the next one may take its time
}

}  // namespace veredus::local
