// The header fields of MIME (RFC 2045, 2046, 2183, 2231, 3282): tolerant of everything that mail programs write.
#include "lib/mail/mime_fields.h"

#include <algorithm>
#include <map>
#include <optional>

#include "lib/base/text.h"

namespace veredus::mail {

namespace {

constexpr std::size_t most_segments = 200; // of all RFC 2231 continuations of one field
constexpr std::size_t most_languages = 100;

bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Reads a structured field body: tokens, quoted strings, comments (RFC 2045 §5.1).
class Scanner {
public:
    explicit Scanner(std::string_view text) : text_(text) {}
    bool at_end() const { return at_ >= text_.size(); }
    char peek() const { return at_end() ? '\0' : text_[at_]; }
    bool take(char c)
    {
        if (at_end() || text_[at_] != c) return false;
        ++at_;
        return true;
    }
    // White space and comments, which nest (RFC 5322 §3.2.2). A comment that is never closed is none: its ( is text.
    void skip_blanks()
    {
        for (; !at_end(); ++at_) {
            if (text_[at_] == '(') {
                const std::size_t end = comment_end(at_);
                if (end == 0) return;
                at_ = end - 1;
            } else if (!is_blank(text_[at_])) {
                return;
            }
        }
    }
    // Up to any of `stops`, a blank or a comment.
    std::string word(std::string_view stops)
    {
        std::string out;
        for (; !at_end(); ++at_) {
            const char c = text_[at_];
            if (is_blank(c) || stops.find(c) != std::string_view::npos || (c == '(' && comment_end(at_) != 0)) break;
            out.push_back(c);
        }
        return out;
    }
    // At a quote mark: the string without quoting. One that is never closed ends with the field.
    std::string quoted()
    {
        std::string out;
        for (++at_; !at_end() && text_[at_] != '"'; ++at_) {
            if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
            if (text_[at_] != '\r' && text_[at_] != '\n') out.push_back(text_[at_]);
        }
        take('"');
        return out;
    }
    void skip_to(char c) { at_ = std::min(text_.find(c, at_), text_.size()); }

private:
    // Past the comment that begins at `from`; 0 when it has no end. Nothing after an open one can be closed either:
    // that is remembered, so that a field of many ( costs no more than its size.
    std::size_t comment_end(std::size_t from)
    {
        if (from >= open_from_) return 0;
        unsigned depth = 0;
        for (std::size_t i = from; i < text_.size(); ++i) {
            if (text_[i] == '\\')
                ++i;
            else if (text_[i] == '(')
                ++depth;
            else if (text_[i] == ')' && --depth == 0)
                return i + 1;
        }
        open_from_ = from;
        return 0;
    }
    std::string_view text_;
    std::size_t at_ = 0;
    std::size_t open_from_ = std::string_view::npos;
};

// One "name=value" as it stands; `name` may end with RFC 2231's marks.
struct Written {
    std::string name, value;
};

// A value that was not quoted though it holds blanks (name=my file.pdf) runs to the next semicolon.
std::string read_value(Scanner& scan)
{
    scan.skip_blanks();
    std::string value;
    for (bool first = true; !scan.at_end() && scan.peek() != ';'; first = false) {
        if (!first) value.push_back(' ');
        if (scan.peek() == '"') {
            value += scan.quoted();
        } else {
            std::string word = scan.word(";\"");
            if (word.empty() && scan.take('(')) word = "(";
            value += word;
        }
        scan.skip_blanks();
    }
    return value;
}

std::vector<Written> read_parameters(Scanner& scan)
{
    std::vector<Written> out;
    for (scan.skip_blanks(); !scan.at_end() && out.size() < most_segments; scan.skip_blanks()) {
        if (scan.take(';')) continue;
        std::string name = lower(scan.word("=;"));
        scan.skip_blanks();
        if (!scan.take('=')) {
            scan.skip_to(';');
            continue;
        }
        std::string value = read_value(scan);
        if (!name.empty()) out.push_back({std::move(name), std::move(value)});
    }
    return out;
}

std::string percent_decode(std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto code = text[i] == '%' && i + 2 < text.size() ? parse_hex(text.substr(i + 1, 2)) : std::nullopt;
        out.push_back(code ? static_cast<char>(*code) : text[i]);
        if (code) i += 2;
    }
    return out;
}

// What RFC 2231 §7 lets stand as itself in an extended value; the rest as %XX.
std::string percent_encode(std::string_view text)
{
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte > 32 && byte < 127 && std::string_view("*'%()<>@,;:\\\"/[]?=").find(c) == std::string_view::npos)
            out.push_back(c);
        else
            append(out, '%', hex_upper(byte, 2));
    }
    return out;
}

struct Segment {
    std::string value;
    bool coded = false; // written as name*N*=
};

// The pieces of one parameter: name*0*=, name*1=, ... (RFC 2231 §3, §4.1), or name*= alone.
struct Pieces {
    std::size_t order = 0; // where it first stood
    std::map<unsigned, Segment> segments;
};

// "name", "name*", "name*3", "name*3*" -> what it is about. False: a plain name.
bool read_marks(std::string& name, unsigned& number, bool& coded)
{
    const std::size_t star = name.find('*');
    if (star == std::string::npos || star == 0) return false;
    std::string_view marks = std::string_view(name).substr(star + 1);
    coded = marks.empty() || marks.ends_with('*');
    if (marks.ends_with('*')) marks.remove_suffix(1);
    const auto n = marks.empty() ? std::optional(0u) : parse_number<unsigned>(marks, 9999);
    if (!n) return false;
    number = *n;
    name.resize(star);
    return true;
}

MimeParameter join(const std::string& name, const Pieces& pieces)
{
    MimeParameter out;
    out.name = name;
    unsigned expected = 0;
    for (const auto& [number, segment] : pieces.segments) {
        if (number != expected++) break; // RFC 2231 §3: no gaps; what follows one is lost
        std::string_view text = segment.value;
        if (number == 0 && segment.coded) {
            const std::size_t first = text.find('\'');
            const std::size_t second = first == std::string_view::npos ? first : text.find('\'', first + 1);
            out.extended = true;
            if (second != std::string_view::npos) {
                out.charset = lower(text.substr(0, first));
                out.language = text.substr(first + 1, second - first - 1);
                text.remove_prefix(second + 1);
            }
            out.joined = cat(out.charset, '\'', out.language, '\'');
        }
        // RFC 2231 §4.1: pieces that are not coded stand among coded ones, and a "%" in them is one.
        if (out.extended) out.joined += segment.coded ? std::string(text) : percent_encode(text);
        out.value += segment.coded ? percent_decode(text) : std::string(text);
    }
    return out;
}

MimeParameters join_all(std::vector<Written> written)
{
    MimeParameters out;
    std::map<std::string, Pieces> pieces;
    for (Written& w : written) {
        unsigned number = 0;
        bool coded = false;
        if (!read_marks(w.name, number, coded)) {
            if (out.size() < max_mime_parameters && !find_parameter(out, w.name))
                out.push_back({std::move(w.name), std::move(w.value), {}, {}, false, {}});
            continue;
        }
        pieces[w.name].segments.try_emplace(number, Segment{std::move(w.value), coded});
    }
    for (const auto& [name, p] : pieces) {
        if (!p.segments.contains(0)) continue;
        MimeParameter joined = join(name, p);
        // RFC 2231 gives the better form of a value when a plain one stands beside it.
        const auto plain =
            std::find_if(out.begin(), out.end(), [&](const MimeParameter& m) { return m.name == joined.name; });
        if (plain != out.end())
            *plain = std::move(joined);
        else if (out.size() < max_mime_parameters)
            out.push_back(std::move(joined));
    }
    return out;
}

bool is_token(std::string_view s)
{
    return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) {
        return static_cast<unsigned char>(c) > 32 && static_cast<unsigned char>(c) < 127 &&
               std::string_view("()<>@,;:\\\"/[]?=").find(c) == std::string_view::npos;
    });
}

} // namespace

std::size_t field_name_size(std::string_view line)
{
    std::size_t n = 0;
    while (n < line.size() && line[n] > 32 && line[n] < 127 && line[n] != ':') ++n;
    std::size_t colon = n;
    while (colon < line.size() && (line[colon] == ' ' || line[colon] == '\t')) ++colon;
    return colon < line.size() && line[colon] == ':' ? n : 0;
}

std::string unfold(std::string_view body)
{
    const std::string_view text = trim(body);
    std::string out;
    out.reserve(text.size());
    for (auto at = text.begin(); at < text.end();) {
        const auto end = std::find_if(at, text.end(), [](char c) { return c == '\r' || c == '\n'; });
        out.append(at, end);
        at = end == text.end() ? end : end + 1;
    }
    return out;
}

const MimeParameter* find_parameter(const MimeParameters& parameters, std::string_view name)
{
    const auto it = std::find_if(parameters.begin(), parameters.end(),
                                 [&](const MimeParameter& p) { return iequals(p.name, name); });
    return it == parameters.end() ? nullptr : &*it;
}

std::string ContentType::boundary() const
{
    const MimeParameter* p = find_parameter(parameters, "boundary");
    if (!p) return {};
    std::string out = p->value;
    while (!out.empty() && is_blank(out.back())) out.pop_back();
    return out.size() <= max_boundary ? out : std::string();
}

ContentType parse_content_type(std::string_view body)
{
    Scanner scan(body);
    scan.skip_blanks();
    ContentType out;
    std::string type = lower(scan.word("/;"));
    scan.skip_blanks();
    std::string subtype;
    if (scan.take('/')) {
        scan.skip_blanks();
        subtype = lower(scan.word(";"));
    }
    if (is_token(type) && is_token(subtype)) {
        out.type = std::move(type);
        out.subtype = std::move(subtype);
    } else if (subtype.empty() && type == "multipart") {
        out.type = std::move(type);
        out.subtype = "mixed"; // RFC 2046 §5.1.3: what is not known is like mixed
    } else if (!(type == "text" && subtype.empty())) {
        return out; // RFC 2045 §5.2
    }
    scan.skip_to(';');
    out.parameters = join_all(read_parameters(scan));
    return out;
}

std::string transfer_encoding_token(std::string_view body)
{
    Scanner scan(body);
    scan.skip_blanks();
    std::string token = lower(scan.word(";"));
    return token.empty() ? "7bit" : token;
}

Encoding parse_transfer_encoding(std::string_view body)
{
    const std::string token = transfer_encoding_token(body);
    if (token == "7bit" || token == "7-bit") return Encoding::seven_bit;
    if (token == "8bit" || token == "8-bit") return Encoding::eight_bit;
    if (token == "binary") return Encoding::binary;
    if (token == "quoted-printable") return Encoding::quoted_printable;
    return token == "base64" ? Encoding::base64 : Encoding::unknown;
}

bool is_identity(Encoding encoding)
{
    return encoding == Encoding::seven_bit || encoding == Encoding::eight_bit || encoding == Encoding::binary;
}

Disposition parse_disposition(std::string_view body)
{
    Scanner scan(body);
    scan.skip_blanks();
    Disposition out;
    out.type = lower(scan.word(";"));
    if (!is_token(out.type)) return {};
    scan.skip_to(';');
    out.parameters = join_all(read_parameters(scan));
    return out;
}

std::string parse_content_id(std::string_view body)
{
    Scanner scan(body);
    scan.skip_blanks();
    const std::string plain = unfold(body);
    const std::string id = scan.word("");
    return id.starts_with('<') && id.ends_with('>') ? id : plain;
}

std::vector<std::string> parse_languages(std::string_view body)
{
    std::vector<std::string> out;
    Scanner scan(body);
    for (scan.skip_blanks(); !scan.at_end() && out.size() < most_languages; scan.skip_blanks()) {
        if (scan.take(',')) continue;
        std::string tag = scan.word(",");
        if (tag.empty() && scan.take('(')) continue;
        if (is_token(tag)) out.push_back(std::move(tag));
    }
    return out;
}

} // namespace veredus::mail
