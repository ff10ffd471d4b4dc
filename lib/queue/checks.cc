// Header and body checks.
#include "lib/queue/checks.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/log/log.h"

namespace veredus::queue {

namespace {

using mail::Verb;

constexpr unsigned most_log_lines = 100; // of one mail
constexpr std::size_t most_bcc = 100;
constexpr std::size_t most_checked = 16'384; // bytes of one field that rules see
constexpr std::size_t most_shown = 200;      // bytes of a field or line in the log, as Postfix has it

// Postfix's list: these go to mime_header_checks wherever they stand.
bool is_mime_field(std::string_view name)
{
    static constexpr std::string_view names[] = {
        "MIME-Version",        "Content-Type",        "Content-Transfer-Encoding",
        "Content-Description", "Content-Disposition", "Content-ID"};
    return std::any_of(std::begin(names), std::end(names), [&](std::string_view n) { return iequals(n, name); });
}

// What rules see: without the last line end; folding stays, as Postfix has it, with LF. Of very long fields the
// beginning: a stranger must not keep us busy with a header full of text for hundreds of patterns. "Subject : x" is
// the obsolete form of "Subject: x" (RFC 5322 §4.5.8), and readers show both alike: so do rules see them.
std::string key_of(bool field, std::string_view raw)
{
    raw = raw.substr(0, most_checked);
    std::string out;
    out.reserve(raw.size());
    if (const std::size_t name = field ? mail::field_name_size(raw) : 0; name != 0) {
        out = raw.substr(0, name);
        raw.remove_prefix(raw.find(':', name));
    }
    for (const char c : raw)
        if (c != '\r' && c != '\0') out.push_back(c);
    if (out.ends_with('\n')) out.pop_back();
    return out;
}

bool only_changes(Verb verb)
{
    static constexpr Verb verbs[] = {Verb::ignore, Verb::strip, Verb::replace, Verb::prepend, Verb::warn, Verb::info, Verb::ok, Verb::dunno};
    return std::find(std::begin(verbs), std::end(verbs), verb) != std::end(verbs);
}

constexpr const char* known_actions = "known are REJECT, DISCARD, HOLD, REDIRECT, BCC, PREPEND, REPLACE, IGNORE, STRIP, WARN, INFO and DUNNO";

std::optional<mail::Address> recipient_of(const mail::Action& action)
{
    auto address = mail::parse_address(action.text);
    if (!address || address->domain.empty()) return std::nullopt;
    return std::move(*address);
}

} // namespace

std::string action_problem(std::string_view text, bool header, bool only_changes_allowed, bool variable)
{
    const auto action = mail::parse_action(text);
    if (!action) {
        const std::string_view word = trim(text).substr(0, trim(text).find_first_of(" \t"));
        if (variable && word.find('$') != std::string_view::npos) return {};
        return cat("unknown action \"", printable(word, 60), "\"; ", known_actions);
    }
    const std::string_view verb = mail::verb_name(action->verb);
    if (only_changes_allowed && !only_changes(action->verb)) return cat(verb, " is not supported for mail on its way out and has no effect");
    switch (action->verb) {
    case Verb::filter:
    case Verb::defer_if_permit:
    case Verb::defer_if_reject: return cat(verb, " is not supported here and has no effect");
    case Verb::redirect:
    case Verb::bcc:
        if (variable || recipient_of(*action)) return {};
        return cat(verb, " wants user@domain, not \"", printable(action->text, 60), "\"");
    case Verb::prepend:
    case Verb::replace:
        if (variable || !header || mail::field_name_size(action->text) > 0) return {};
        return cat(verb, " wants \"Name: text\", not \"", printable(action->text, 60), "\"");
    default: return {};
    }
}

ContentCheck::ContentCheck(std::shared_ptr<const CheckRules> rules, CheckedMail mail)
    : rules_(std::move(rules)), mail_(std::move(mail))
{}

ContentCheck::~ContentCheck() = default;

void ContentCheck::begin_body(std::string_view header)
{
    if (!looks_into_body()) return;
    mail::MimeLimits limits;
    limits.depth = rules_->depth;
    limits.header_bytes = std::max<std::size_t>(limits.header_bytes, header.size() + 2);
    limits.field_bytes = limits.header_bytes; // nothing of a part's field may get lost: it is stored from here
    parser_ = std::make_unique<mail::MimeParser>(static_cast<mail::MimeSink&>(*this), limits);
    std::string nothing;
    out_ = &nothing;
    stored_ = header.size() + 2;
    parser_->feed(header);
    parser_->feed("\r\n");
    out_ = nullptr;
}

void ContentCheck::body(std::string_view bytes, std::string& out)
{
    if (!parser_) {
        out.append(bytes);
        return;
    }
    out_ = &out;
    parser_->feed(bytes);
    out_ = nullptr;
}

void ContentCheck::finish_body(std::string& out)
{
    if (!parser_) return;
    out_ = &out;
    parser_->finish();
    out_ = nullptr;
}

// ---- what the parser finds ----

void ContentCheck::part_begins(const mail::MimePart&)
{
    looked_at_ = 0;
}

void ContentCheck::field(const mail::MimePart& part, const mail::MimeField& field)
{
    if (part.kind == mail::MimePart::Kind::message) return; // see finish()
    stored_ = field.offset + field.size;
    const bool about_mime = part.kind == mail::MimePart::Kind::part || is_mime_field(field.name());
    check(about_mime ? rules_->mime : rules_->nested, Context::header, field.raw, *out_);
}

void ContentCheck::headers_end(const mail::MimePart& part)
{
    if (part.kind == mail::MimePart::Kind::message || part.body_offset <= stored_) return;
    out_->append(part.body_offset - stored_ == 1 ? "\n" : "\r\n"); // the blank line
    stored_ = part.body_offset;
}

void ContentCheck::line(const mail::MimePart&, const mail::MimeLine& line)
{
    stored_ = line.offset + line.bytes.size();
    if (!line.begins && drop_line_) return; // the rest of a very long line shares its fate
    drop_line_ = false;
    // A mail has as many parts as its writer likes.
    const bool look = line.begins && looked_at_ < rules_->body_size && spent_ < uint64_t{rules_->body_size} * CheckRules::body_parts;
    looked_at_ += line.bytes.size();
    if (!look) {
        out_->append(line.bytes);
        return;
    }
    spent_ += std::max(line.bytes.size(), CheckRules::least_line);
    const std::size_t before = out_->size();
    check(rules_->body, Context::body, line.bytes, *out_);
    drop_line_ = !line.ends && !std::string_view(*out_).substr(before).ends_with(line.bytes);
}

// ---- rules and what they want ----

void ContentCheck::check(const CheckRules::Lookup& rules, Context context, std::string_view raw, std::string& out)
{
    if (!rules || over()) {
        out.append(raw);
        return;
    }
    const auto found = rules(key_of(context == Context::header, raw));
    if (!found) {
        log::error(mail_.id, ": ", context == Context::header ? "header" : "body", " checks: ", found.error().text);
        verdict_ = {Decision::Kind::reject, 451, "4.3.0", "Temporary local problem, please try again"};
    }
    if (!found || !*found) {
        out.append(raw);
        return;
    }
    const auto action = mail::parse_action(**found);
    if (action) return act(*action, context, raw, out);
    log::warning(
        mail_.id, ": ", context == Context::header ? "header" : "body",
        " checks: unknown action: ", printable(**found, most_shown), "; ", known_actions);
    out.append(raw);
}

void ContentCheck::act(const mail::Action& action, Context context, std::string_view raw, std::string& out)
{
    if (rules_->only_changes && !only_changes(action.verb)) {
        log::warning(mail_.id, ": header and body checks: ", mail::verb_name(action.verb), " is not supported for mail on its way out and has no effect: ",
                     printable(action.text, most_shown));
        out.append(raw);
        return;
    }
    const auto note = [&](std::string_view word) { say(word, context, raw, action.text); };
    switch (action.verb) {
    case Verb::reject:
    case Verb::defer:
        reject(action);
        say("reject", context, raw, cat(verdict_.enhanced, ' ', verdict_.text));
        break;
    case Verb::discard:
        note("discard");
        verdict_ = {Decision::Kind::discard, 0, "", action.text};
        break;
    case Verb::hold:
        note("hold");
        hold_ = true;
        break;
    case Verb::redirect:
    case Verb::bcc:
        note(action.verb == Verb::bcc ? "bcc" : "redirect");
        add_recipient(action, action.verb == Verb::redirect);
        break;
    case Verb::ignore: return;
    case Verb::strip: return note("strip");
    case Verb::replace:
        if (!insert(action, context, out)) break;
        return note("replace");
    case Verb::prepend:
        if (insert(action, context, out)) note("prepend");
        break;
    case Verb::warn: note("warning"); break;
    case Verb::info: note("info"); break;
    case Verb::ok:
    case Verb::dunno: break;
    default:
        log::warning(mail_.id, ": header and body checks: ", mail::verb_name(action.verb),
                     " is not supported here and has no effect: ", printable(action.text, most_shown));
    }
    out.append(raw);
}

// The line of a PREPEND or REPLACE. In a header it must be a field: anything else would end the header there.
bool ContentCheck::insert(const mail::Action& action, Context context, std::string& out)
{
    if (context == Context::header && mail::field_name_size(action.text) == 0) {
        log::warning(mail_.id, ": header checks: ", mail::verb_name(action.verb), " wants \"Name: text\", not \"",
                     printable(action.text, most_shown), "\"; the field stays as it is");
        return false;
    }
    // $1 may have brought line ends of a folded field along.
    for (std::size_t i = 0; i < action.text.size(); ++i) {
        const char c = action.text[i];
        if (c == '\n') {
            const bool folds = i + 1 < action.text.size() && (action.text[i + 1] == ' ' || action.text[i + 1] == '\t');
            out.append(folds ? "\r\n" : " ");
        } else if (c != '\r' && c != '\0') {
            out.push_back(c);
        }
    }
    out.append("\r\n");
    return true;
}

void ContentCheck::add_recipient(const mail::Action& action, bool instead)
{
    auto address = recipient_of(action);
    if (!address) {
        log::warning(mail_.id, ": header and body checks: ", mail::verb_name(action.verb), " wants user@domain, not \"",
                     printable(action.text, most_shown), "\"");
        return;
    }
    if (instead)
        redirect_ = std::move(*address); // the last one counts
    else if (bcc_.size() < most_bcc && std::find(bcc_.begin(), bcc_.end(), *address) == bcc_.end())
        bcc_.push_back(std::move(*address));
}

void ContentCheck::reject(const mail::Action& action)
{
    const bool later = action.verb == Verb::defer || action.enhanced.starts_with('4');
    const int code = action.code ? action.code : later ? 451 : 550;
    std::string status = mail::status_for(code, action.enhanced.empty() ? "5.7.1" : action.enhanced);
    const std::string text = action.text.empty() ? "message content rejected" : printable(action.text, 400);
    verdict_ = {Decision::Kind::reject, code, std::move(status), text};
}

// "ID: reject: header Subject: x from host[ip]; from=<a> to=<b> proto=ESMTP helo=<h>: text", as Postfix's cleanup
// writes it.
void ContentCheck::say(std::string_view what, Context context, std::string_view raw, std::string_view text)
{
    if (++lines_said_ > most_log_lines) return;
    if (lines_said_ == most_log_lines)
        return log::info(mail_.id, ": header and body checks: more is done and not logged");
    std::string shown;
    for (const char c : key_of(context == Context::header, raw)) shown.push_back(c == '\n' ? ' ' : c);
    std::string line =
        cat(mail_.id, ": ", what, ": ", context == Context::header ? "header " : "body ", printable(shown, most_shown),
            " from ", mail_.origin, "; from=<", printable(mail_.sender), "> to=<", printable(mail_.recipient), '>');
    if (!mail_.protocol.empty()) append(line, " proto=", mail_.protocol);
    if (!mail_.helo.empty()) append(line, " helo=<", printable(mail_.helo, 255), '>');
    if (!text.empty()) append(line, ": ", printable(text));
    log::info(line);
}

bool ContentCheck::look_at_fields(const mail::HeaderBlock& header, const std::function<bool()>& enough)
{
    const auto& fields = header.fields();
    while (fields_seen_ < fields.size()) {
        const mail::Field& f = fields[fields_seen_++];
        check(is_mime_field(f.name()) ? rules_->mime : rules_->header, Context::header, f.raw, checked_header_);
        if (enough()) return false;
    }
    return true;
}

Decision ContentCheck::finish(mail::HeaderBlock& header, mail::Envelope& envelope)
{
    if ((rules_->header || rules_->mime) && (fields_seen_ > 0 || !over())) {
        look_at_fields(header, [] { return false; });
        header = mail::HeaderBlock::parse(checked_header_);
    }
    if (over()) return verdict_;
    if (redirect_) {
        envelope.recipients.clear();
        envelope.recipients.push_back({*redirect_, mail::notify_unset, {}});
    }
    // RFC 3461 leaves it to us: nobody who was not told of a copy hears of its fate.
    for (const mail::Address& address : bcc_) envelope.recipients.push_back({address, mail::notify_never, {}});
    if (hold_) verdict_.kind = Decision::Kind::hold;
    return verdict_;
}

} // namespace veredus::queue
