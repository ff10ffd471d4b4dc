// ENVELOPE and BODYSTRUCTURE out of the MIME parser's events.
#include "lib/mail/structure.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::mail {

namespace {

constexpr std::size_t max_kept = 4u << 20;       // of header text in one message: later fields are left out
constexpr std::size_t max_value = 32 * 1024;     // of one field
constexpr std::size_t max_parameter = 4096;
constexpr std::size_t max_list = 1u << 20;       // of the addresses of one kind as a list, beyond which fields are left out

bool fits_quotes(std::string_view s)
{
    if (s.size() > 1000) return false;
    for (const char c : s)
        if (c == '\r' || c == '\n' || c == '\0' || static_cast<unsigned char>(c) >= 0x80) return false;
    return true;
}

void put_string(std::string& out, std::string_view s)
{
    if (!fits_quotes(s)) {
        std::string clean(s);
        std::erase(clean, '\0');                 // no literal may have one (RFC 9051 §9, literal8 apart)
        append(out, '{', clean.size(), "}\r\n", clean);
        return;
    }
    out += '"';
    for (auto at = s.begin();;) {
        const auto special = std::find_if(at, s.end(), [](char c) { return c == '"' || c == '\\'; });
        out.append(at, special);
        if (special == s.end()) break;
        out += '\\';
        out += *special;
        at = special + 1;
    }
    out += '"';
}

void put_optional(std::string& out, bool there, const std::string& value) { put_nstring(out, there ? &value : nullptr); }

std::string bounded(std::string_view body) { return unfold(body.substr(0, max_value)); }

std::string parameter_list(const MimeParameters& parameters)
{
    std::string out;
    for (const MimeParameter& p : parameters) {
        out += out.empty() ? '(' : ' ';
        put_string(out, p.extended ? p.name + '*' : p.name);
        out += ' ';
        put_string(out, std::string_view(p.extended ? p.joined : p.value).substr(0, max_parameter));
    }
    return out.empty() ? "NIL" : out + ')';
}

// One pass over an address list that takes anything.
class AddressScanner {
public:
    AddressScanner(std::string_view body, std::size_t limit) : in_(body), limit_(limit) {}
    std::string list()
    {
        while (at_ < in_.size() && count_ < limit_) step();
        end_address();
        if (in_group_ && count_ > 0) put_marker(nullptr);
        return out_.empty() ? "NIL" : cat('(', out_, ')');
    }

private:
    void step()
    {
        const char c = in_[at_];
        if (is_space(c)) {
            ++at_;
            gap_ = true;
            return;
        }
        switch (c) {
        case '"': add(quoted(), true); return;
        case '(': comment(); return;
        case '<': ++at_; angle(); return;
        case ',': ++at_; end_address(); return;
        case ':': ++at_; begin_group(); return;
        case ';':
            ++at_;
            end_address();
            if (in_group_) put_marker(nullptr);
            in_group_ = false;
            return;
        case '>': ++at_; return;
        default: break;
        }
        std::size_t end = at_;
        while (end < in_.size() && !is_space(in_[end]) && std::string_view("\"(<>,:;").find(in_[end]) == std::string_view::npos) ++end;
        add(std::string(in_.substr(at_, end - at_)), false);
        at_ = end;
    }

    std::string quoted()
    {
        std::string out;
        for (++at_; at_ < in_.size() && in_[at_] != '"'; ++at_) {
            if (in_[at_] == '\\' && at_ + 1 < in_.size()) ++at_;
            out += in_[at_];
        }
        ++at_;
        return out;
    }

    // The first one may be the name, as mail of the seventies has it: "user@host (Name)".
    void comment()
    {
        std::string out;
        int depth = 0;
        for (; at_ < in_.size(); ++at_) {
            const char c = in_[at_];
            if (c == '\\' && at_ + 1 < in_.size()) {
                out += in_[++at_];
                continue;
            }
            if (c == '(' && depth++ == 0) continue;
            if (c == ')' && --depth == 0) break;
            out += c;
        }
        ++at_;
        if (comment_.empty()) comment_ = std::string(trim(out));
        gap_ = true;
    }

    void angle()
    {
        std::string route, address;
        bool in_quotes = false;
        for (; at_ < in_.size() && (in_quotes || in_[at_] != '>'); ++at_) {
            const char c = in_[at_];
            if (c == '"') in_quotes = !in_quotes;
            if (c == ':' && !in_quotes && address.starts_with('@')) {
                route = std::move(address);
                address.clear();
                continue;
            }
            if (!in_quotes && is_space(c)) continue;
            address += c;
        }
        ++at_;
        put_address(words_, route, address);
        reset();
        done_ = true;
    }

    void add(const std::string& word, bool was_quoted)
    {
        if (done_ && count_ < limit_) reset(), done_ = false;           // text behind an address without a comma
        if (gap_ && !words_.empty()) words_ += ' ';
        words_ += word;
        if (gap_ && !plain_.empty() && !plain_.ends_with('@') && !plain_.ends_with('.') && word != "@" && !word.starts_with('@') && !word.starts_with('.')) plain_ += ' ';
        plain_ += was_quoted ? cat('"', word, '"') : word;
        gap_ = false;
    }

    void begin_group()
    {
        if (in_group_) put_marker(nullptr);
        in_group_ = true;
        put_marker(&words_);
        reset();
        done_ = false;
    }

    void end_address()
    {
        if (!done_ && !trim(plain_).empty()) put_address(comment_, "", plain_);
        reset();
        done_ = false;
    }

    void reset()
    {
        words_.clear();
        plain_.clear();
        comment_.clear();
        gap_ = false;
    }

    void put_address(std::string_view name, std::string_view route, std::string_view address)
    {
        if (count_ >= limit_) return;
        ++count_;
        const auto at = address.rfind('@');
        std::string local(trim(address.substr(0, at)));
        if (local.size() >= 2 && local.front() == '"' && local.back() == '"') local = local.substr(1, local.size() - 2);
        const auto host = at == std::string_view::npos ? std::string_view() : trim(address.substr(at + 1));
        if (name.empty()) name = comment_;
        out_ += '(';
        const std::string name_text(name.substr(0, max_parameter)), route_text(route.substr(0, max_parameter));
        put_optional(out_, !name.empty(), name_text);
        out_ += ' ';
        put_optional(out_, !route.empty(), route_text);
        out_ += ' ';
        // NIL would mean a group, so that what is missing needs a word; these are the ones that clients know.
        put_string(out_, local.empty() ? "MISSING_MAILBOX" : std::string_view(local).substr(0, max_parameter));
        out_ += ' ';
        put_string(out_, host.empty() ? "MISSING_DOMAIN" : host.substr(0, max_parameter));
        out_ += ')';
    }

    void put_marker(const std::string* name)
    {
        ++count_;
        out_ += "(NIL NIL ";
        put_nstring(out_, name);
        out_ += " NIL)";
    }

    std::string_view in_;
    std::size_t limit_, at_ = 0, count_ = 0;
    std::string out_, words_, plain_, comment_;      // words_: as a display name; plain_: as an address
    bool gap_ = false, in_group_ = false, done_ = false;
};

}  // namespace

void put_nstring(std::string& out, const std::string* value)
{
    if (value) put_string(out, *value);
    else out += "NIL";
}

std::string imap_addresses(std::string_view body, std::size_t limit) { return AddressScanner(unfold(body), limit).list(); }

void StructureMaker::part_begins(const MimePart& part)
{
    nodes_.resize(std::max<std::size_t>(nodes_.size(), part.index + 1u));
    nodes_[part.index].part = part;
    if (part.index != 0) nodes_[part.parent].children.push_back(part.index);
}

bool StructureMaker::afford(std::size_t size)
{
    kept_ += std::min(size, max_value);
    return kept_ <= max_kept;
}

void StructureMaker::envelope_field(Envelope& e, const std::string& name, std::string_view body)
{
    // The first of each counts (RFC 5322 §3.6 allows one), but addresses of several fields are joined, as they were meant.
    const auto once = [&](bool& has, std::string& value) {
        if (!has) value = bounded(body);
        has = true;
    };
    const auto addresses = [&](std::string& list) {
        const std::string more = imap_addresses(body.substr(0, max_value));
        if (list.empty() || list == "NIL") {
            list = more;
        } else if (more != "NIL" && list.size() < max_list) {
            list.pop_back();                     // in place: a header may have a field like this in every line
            list.append(more, 1);
        }
    };
    if (name == "date") once(e.has_date, e.date);
    else if (name == "subject") once(e.has_subject, e.subject);
    else if (name == "in-reply-to") once(e.has_in_reply_to, e.in_reply_to);
    else if (name == "message-id") once(e.has_message_id, e.message_id);
    else if (name == "from") addresses(e.from);
    else if (name == "sender") addresses(e.sender);
    else if (name == "reply-to") addresses(e.reply_to);
    else if (name == "to") addresses(e.to);
    else if (name == "cc") addresses(e.cc);
    else if (name == "bcc") addresses(e.bcc);
}

void StructureMaker::field(const MimePart& part, const MimeField& field)
{
    Node& node = nodes_[part.index];
    const std::string name = lower(trim(field.name()));
    const std::string_view body = field.body();
    const auto once = [&](bool& has, std::string& value) {
        if (!has) value = bounded(body);
        has = true;
    };
    const bool ours = name.starts_with("content-");
    if (!ours && part.kind == MimePart::Kind::part) return;
    if (!afford(body.size())) return;
    if (!ours) envelope_field(node.envelope, name, body);
    else if (name == "content-type") once(node.has_type, node.type_body);
    else if (name == "content-transfer-encoding") node.encoding = transfer_encoding_token(body.substr(0, max_parameter));
    else if (name == "content-id") node.has_id = true, node.id = parse_content_id(body.substr(0, max_value));
    else if (name == "content-description") once(node.has_description, node.description);
    else if (name == "content-md5") once(node.has_md5, node.md5);
    else if (name == "content-location") once(node.has_location, node.location);
    else if (name == "content-disposition") {
        const Disposition disposition = parse_disposition(body.substr(0, max_value));
        if (disposition.type.empty()) return;
        node.disposition = "(";
        put_string(node.disposition, disposition.type);
        append(node.disposition, ' ', parameter_list(disposition.parameters), ')');
    } else if (name == "content-language") {
        node.languages.clear();
        for (const auto& tag : parse_languages(body.substr(0, max_value))) {
            node.languages += node.languages.empty() ? '(' : ' ';
            put_string(node.languages, tag);
        }
        if (!node.languages.empty()) node.languages += ')';
    }
}

void StructureMaker::headers_end(const MimePart& part)
{
    Node& node = nodes_[part.index];
    node.part = part;
    if (node.has_type) node.parameters = parameter_list(parse_content_type(node.type_body).parameters);
}

void StructureMaker::part_ends(const MimePart& part) { nodes_[part.index].part = part; }

void StructureMaker::put_envelope(std::string& out, const Envelope& e)
{
    const auto list = [&](const std::string& value) { return value.empty() ? std::string("NIL") : value; };
    const std::string from = list(e.from);
    const auto or_from = [&](const std::string& value) { return list(value) == "NIL" ? from : value; };    // RFC 9051 §7.5.2: the server fills them in
    out += '(';
    put_optional(out, e.has_date, e.date);
    out += ' ';
    put_optional(out, e.has_subject, e.subject);
    append(out, ' ', from, ' ', or_from(e.sender), ' ', or_from(e.reply_to), ' ', list(e.to), ' ', list(e.cc), ' ', list(e.bcc), ' ');
    put_optional(out, e.has_in_reply_to, e.in_reply_to);
    out += ' ';
    put_optional(out, e.has_message_id, e.message_id);
    out += ')';
}

std::string StructureMaker::parameters_of(const Node& node)
{
    if (!node.has_type) return node.part.type == "text" ? "(\"charset\" \"us-ascii\")" : "NIL";   // RFC 2045 §5.2
    return node.parameters;
}

void StructureMaker::put_extension(std::string& out, const Node& node)
{
    append(out, ' ', node.disposition.empty() ? "NIL" : node.disposition, ' ', node.languages.empty() ? "NIL" : node.languages, ' ');
    put_optional(out, node.has_location, node.location);
}

void StructureMaker::put_leaf(std::string& out, const Node& node, bool extended) const
{
    const MimePart& p = node.part;
    const Node* inner = p.holds_message && !node.children.empty() ? &nodes_[node.children[0]] : nullptr;
    // Clients expect the inside of what is called a message or a multipart: what was not taken apart is called something else.
    const bool opaque = !inner && (p.type == "multipart" || (p.type == "message" && (p.subtype == "rfc822" || p.subtype == "global")));
    out += '(';
    put_string(out, opaque ? "application" : p.type);
    out += ' ';
    put_string(out, opaque ? "octet-stream" : p.subtype);
    append(out, ' ', parameters_of(node), ' ');
    put_optional(out, node.has_id, node.id);
    out += ' ';
    put_optional(out, node.has_description, node.description);
    out += ' ';
    put_string(out, node.encoding);
    append(out, ' ', p.body_size + p.body_bare_lfs);
    if (inner) {
        out += ' ';
        put_envelope(out, inner->envelope);
        out += ' ';
        put_body(out, *inner, extended);
    }
    if (inner || p.type == "text") append(out, ' ', p.body_lines);
    if (extended) {
        out += ' ';
        put_optional(out, node.has_md5, node.md5);
        put_extension(out, node);
    }
    out += ')';
}

void StructureMaker::put_body(std::string& out, const Node& node, bool extended) const
{
    if (!node.part.multipart) {
        put_leaf(out, node, extended);
        return;
    }
    out += '(';
    for (const uint32_t child : node.children) put_body(out, nodes_[child], extended);
    // A multipart without parts: the grammar wants one (RFC 9051 §9 body-type-mpart).
    if (node.children.empty()) append(out, "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0", extended ? " NIL NIL NIL NIL)" : ")");
    out += ' ';
    put_string(out, node.part.subtype);
    if (extended) {
        append(out, ' ', parameters_of(node));
        put_extension(out, node);
    }
    out += ')';
}

std::string StructureMaker::envelope() const
{
    std::string out;
    put_envelope(out, nodes_.empty() ? Envelope() : nodes_[0].envelope);
    return out;
}

std::string StructureMaker::body() const
{
    std::string out;
    put_body(out, nodes_.empty() ? Node() : nodes_[0], false);
    return out;
}

std::string StructureMaker::body_structure() const
{
    std::string out;
    put_body(out, nodes_.empty() ? Node() : nodes_[0], true);
    return out;
}

}  // namespace veredus::mail
