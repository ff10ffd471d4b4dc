// SEARCH: compiling a key, and asking it of messages.
#include "lib/imap/search.h"

#include <string.h>
#include <time.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "lib/base/text.h"
#include "lib/imap/search_text.h"
#include "lib/mail/address.h"
#include "lib/mail/casemap.h"
#include "lib/mail/encoded_word.h"
#include "lib/mail/sent_date.h"

namespace veredus::imap {

namespace {

using Kind = SearchKey::Kind;

constexpr int64_t ever = std::numeric_limits<int64_t>::max();
constexpr int64_t since_ever = std::numeric_limits<int64_t>::min();

// What it takes to decide a key, least first.
enum class Cost : uint8_t { index, facts, header, content };

struct Node {
    enum class What : uint8_t {
        yes,
        no,
        all_of,
        any_of,
        not_,
        number,
        uid,
        flag,
        keyword,
        recent,
        new_,
        received,
        saved,
        sent,
        size,
        header,
        text,
        modseq,
        email_id,
        thread_id,
    } what = What::yes;
    Cost cost = Cost::index;
    uint8_t flag = 0;
    std::vector<Node> nodes;              // all_of, any_of, not_
    std::vector<store::UidRange> ranges;  // number, uid: ascending, apart
    uint64_t keyword = 0;                 // the bit
    int64_t from = since_ever, to = ever; // received, saved: seconds; sent: days; size: bytes; modseq: from <= it < to
    std::string name;                     // header: the field, lower case
    std::string key;                      // header: what to find; an object ID
    std::size_t needle = 0;               // text: of TextSearch
    bool addresses = false;               // header: it has addresses, which may be written in many ways
};

// The second at which a day begins here.
int64_t day_start(int64_t day)
{
    tm t{};
    t.tm_year = 70;
    t.tm_mday = static_cast<int>(std::clamp<int64_t>(day, -1'000'000, 10'000'000)) + 1;
    t.tm_isdst = -1;
    return ::mktime(&t);
}

std::vector<store::UidRange> merged(std::vector<store::UidRange> ranges)
{
    std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<store::UidRange> out;
    for (const store::UidRange& range : ranges) {
        if (!out.empty() && range.first <= out.back().last)
            out.back().last = std::max(out.back().last, range.last);
        else
            out.push_back(range);
    }
    return out;
}

bool holds(const std::vector<store::UidRange>& ranges, uint32_t n)
{
    const auto it =
        std::partition_point(ranges.begin(), ranges.end(), [n](const auto& range) { return range.last < n; });
    return it != ranges.end() && it->first <= n;
}

// RFC 9051 §9 seq-range: either end may be the greater one, "*" is the last message whatever its number.
std::vector<store::UidRange> resolved(const SequenceSet& set, uint32_t last)
{
    std::vector<store::UidRange> out;
    out.reserve(set.ranges.size());
    for (const SequenceSet::Range& range : set.ranges) {
        const uint32_t a = range.first ? range.first : last, b = range.last ? range.last : last;
        if (a != 0 && b != 0) out.push_back({std::min(a, b), std::max(a, b)});
    }
    return merged(std::move(out));
}

constexpr std::size_t most_addresses = 10'000;

bool is_written_oddly(std::string_view addresses)
{
    for (const std::string_view odd : {"(", " @", "@ ", "\"@"})
        if (addresses.find(odd) != addresses.npos) return true;
    return false;
}

Node constant(bool value)
{
    Node node;
    node.what = value ? Node::What::yes : Node::What::no;
    return node;
}

Node negated(Node inner)
{
    Node node;
    node.what = Node::What::not_;
    node.cost = inner.cost;
    node.nodes.push_back(std::move(inner));
    return node;
}

} // namespace

struct Program::Private {
    Private(const SearchKey& key, const Situation& situation) : situation_(situation)
    {
        root_ = compile(key);
        situation_ = {};
    }
    Result<bool> matches(Candidate& candidate)
    {
        candidate_ = &candidate;
        content_was_read_ = false;
        error_.reset();
        const bool yes = holds_true(root_);
        if (error_) return unexpected(std::move(*error_));
        return yes;
    }
    Needs needs_;

private:
    Node compile(const SearchKey& key);
    Node compile_list(const SearchKey& key);
    Node compile_set(const SearchKey& key);
    Node compile_keyword(const std::string& name);
    Node compile_date(Node::What what, const SearchKey& key);
    Node compile_header(std::string name, const std::string& text, bool addresses = false);
    Node compile_text(const SearchKey& key);
    void need_field(const std::string& name);

    bool holds_true(const Node& node);
    bool list_holds(const Node& node);
    bool time_holds(const Node& node);
    bool header_holds(const Node& node);
    bool address_holds(std::string_view body, const std::string& key);
    bool sent_holds(const Node& node);
    bool text_holds(const Node& node);
    bool gave_up(Error error);

    Situation situation_; // while compiling
    Node root_;
    TextSearch text_;
    Candidate* candidate_ = nullptr;
    bool content_was_read_ = false;
    std::optional<Error> error_;
    std::vector<std::string_view> bodies_; // scratch
    std::string decoded_, key_;
};

// ---- compiling ----

Node Program::Private::compile(const SearchKey& key)
{
    Node node;
    const auto simple = [&](Node::What what) { node.what = what; };
    const auto within = [&](Node::What what, Cost cost, int64_t from, int64_t to) {
        node.what = what;
        node.cost = cost;
        node.from = from;
        node.to = to;
    };
    const int64_t number = static_cast<int64_t>(std::min<uint64_t>(key.number, ever - 1));
    switch (key.kind) {
    case Kind::all: break;
    case Kind::all_of:
    case Kind::any_of:
    case Kind::not_: return compile_list(key);
    case Kind::sequence:
    case Kind::uid: return compile_set(key);
    case Kind::flag:
    case Kind::no_flag:
        node.what = Node::What::flag;
        node.flag = key.flag;
        return key.kind == Kind::flag ? node : negated(std::move(node));
    case Kind::keyword: return compile_keyword(key.text);
    case Kind::no_keyword: return negated(compile_keyword(key.text));
    case Kind::recent: simple(Node::What::recent); break;
    case Kind::new_: simple(Node::What::new_); break;
    case Kind::old: simple(Node::What::recent); return negated(std::move(node));
    case Kind::before:
    case Kind::on:
    case Kind::since: return compile_date(Node::What::received, key);
    case Kind::sent_before:
    case Kind::sent_on:
    case Kind::sent_since: return compile_date(Node::What::sent, key);
    case Kind::saved_before:
    case Kind::saved_on:
    case Kind::saved_since: return compile_date(Node::What::saved, key);
    case Kind::save_date_supported: return constant(situation_.save_dates);
    // RFC 5032 §2: both take in the moment itself
    case Kind::older:
        within(Node::What::received, Cost::facts, since_ever, situation_.now - std::min(number, situation_.now) + 1);
        break;
    case Kind::younger:
        within(Node::What::received, Cost::facts, situation_.now - std::min(number, situation_.now), ever);
        break;
    case Kind::larger: within(Node::What::size, Cost::facts, number + 1, ever); break;
    case Kind::smaller: within(Node::What::size, Cost::facts, 0, number); break;
    case Kind::header: return compile_header(lower(key.field), key.text);
    case Kind::from: return compile_header("from", key.text, true);
    case Kind::to: return compile_header("to", key.text, true);
    case Kind::cc: return compile_header("cc", key.text, true);
    case Kind::bcc: return compile_header("bcc", key.text, true);
    case Kind::subject: return compile_header("subject", key.text);
    case Kind::body:
    case Kind::text: return compile_text(key);
    case Kind::modseq:
        needs_.modseq = true;
        within(Node::What::modseq, Cost::index, number, ever);
        break;
    case Kind::emailid:
    case Kind::threadid:
        node.what = key.kind == Kind::emailid ? Node::What::email_id : Node::What::thread_id;
        node.cost = key.kind == Kind::emailid ? Cost::index : Cost::facts;
        node.key = key.text;
        break;
    }
    if (node.what == Node::What::received) needs_.received = true;
    if (node.what == Node::What::size) needs_.size = true;
    return node;
}

Node Program::Private::compile_list(const SearchKey& key)
{
    Node node;
    node.what = key.kind == Kind::any_of ? Node::What::any_of : Node::What::all_of;
    for (const SearchKey& inner : key.keys) {
        node.nodes.push_back(compile(inner));
        node.cost = std::max(node.cost, node.nodes.back().cost);
    }
    std::stable_sort(node.nodes.begin(), node.nodes.end(),
                     [](const Node& a, const Node& b) { return a.cost < b.cost; });
    if (key.kind == Kind::not_) return negated(std::move(node));
    if (node.nodes.size() == 1) {
        Node only = std::move(node.nodes[0]);
        return only;
    }
    return node;
}

Node Program::Private::compile_set(const SearchKey& key)
{
    Node node;
    const bool by_number =
        key.kind == Kind::sequence && !key.set.saved; // RFC 5182 §2.1: "$" means messages, and UIDs are what names them
    node.what = by_number ? Node::What::number : Node::What::uid;
    node.ranges = key.set.saved ? merged(situation_.saved)
                                : resolved(key.set, by_number ? situation_.messages : situation_.last_uid);
    return node;
}

Node Program::Private::compile_keyword(const std::string& name)
{
    for (std::size_t bit = 0; bit < std::min<std::size_t>(situation_.keywords.size(), 64); ++bit) {
        if (!iequals(situation_.keywords[bit], name)) continue;
        Node node;
        node.what = Node::What::keyword;
        node.keyword = uint64_t{1} << bit;
        return node;
    }
    return constant(false);
}

Node Program::Private::compile_date(Node::What what, const SearchKey& key)
{
    Node node;
    node.what = what;
    node.cost = what == Node::What::sent ? Cost::header : Cost::facts;
    const bool before = key.kind == Kind::before || key.kind == Kind::sent_before || key.kind == Kind::saved_before;
    const bool on = key.kind == Kind::on || key.kind == Kind::sent_on || key.kind == Kind::saved_on;
    const int64_t day = key.day;
    const auto bound = [&](int64_t n) { return what == Node::What::sent ? n : day_start(n); };
    if (!before) node.from = bound(day);
    if (before) node.to = bound(day);
    if (on) node.to = bound(day + 1);
    if (what == Node::What::sent)
        need_field("date");
    else
        needs_.received = true; // RFC 8514 §4.3: without a save date the internal date stands in
    return node;
}

void Program::Private::need_field(const std::string& name)
{
    if (std::find(needs_.fields.begin(), needs_.fields.end(), name) == needs_.fields.end())
        needs_.fields.push_back(name);
}

Node Program::Private::compile_header(std::string name, const std::string& text, bool addresses)
{
    Node node;
    node.what = Node::What::header;
    node.cost = Cost::header;
    need_field(name);
    node.name = std::move(name);
    node.key = mail::casemap(text);
    node.addresses = addresses;
    return node;
}

Node Program::Private::compile_text(const SearchKey& key)
{
    if (key.text.empty()) return constant(true);
    Node node;
    node.what = Node::What::text;
    node.cost = Cost::content;
    node.needle = text_.want(key.text, key.kind == Kind::text);
    needs_.content = true;
    return node;
}

// ---- asking ----

// An error makes the answer void: matches() says so, whatever comes out here.
bool Program::Private::gave_up(Error error)
{
    if (!error_) error_ = std::move(error);
    return false;
}

bool Program::Private::holds_true(const Node& node)
{
    Candidate& c = *candidate_;
    const auto within = [&](int64_t n) { return node.from <= n && n < node.to; };
    switch (node.what) {
    case Node::What::yes: return true;
    case Node::What::no: return false;
    case Node::What::all_of:
    case Node::What::any_of: return list_holds(node);
    case Node::What::not_: return !holds_true(node.nodes[0]);
    case Node::What::number: return holds(node.ranges, c.number);
    case Node::What::uid: return holds(node.ranges, c.uid);
    case Node::What::flag: return (c.flags & node.flag) != 0;
    case Node::What::keyword: return (c.keywords & node.keyword) != 0;
    case Node::What::recent: return c.recent;
    case Node::What::new_: return c.recent && !(c.flags & store::seen);
    case Node::What::received:
    case Node::What::saved: return time_holds(node);
    case Node::What::sent: return sent_holds(node);
    case Node::What::size: {
        auto size = c.size();
        return size ? within(static_cast<int64_t>(std::min<uint64_t>(*size, ever - 1)))
                    : gave_up(std::move(size).error());
    }
    case Node::What::header: return header_holds(node);
    case Node::What::text: return text_holds(node);
    case Node::What::modseq: return within(static_cast<int64_t>(std::min<uint64_t>(c.modseq, ever - 1)));
    case Node::What::email_id: return c.email_id() == node.key;
    case Node::What::thread_id: return c.thread_id() == node.key;
    }
    return false;
}

bool Program::Private::list_holds(const Node& node)
{
    const bool decisive = node.what == Node::What::any_of;
    for (const Node& inner : node.nodes) {
        const bool yes = holds_true(inner);
        if (error_) return false;
        if (yes == decisive) return decisive;
    }
    return !decisive;
}

bool Program::Private::time_holds(const Node& node)
{
    int64_t time = candidate_->saved;
    if (node.what == Node::What::received || time == store::unknown_time) {
        auto received = candidate_->received();
        if (!received) return gave_up(std::move(received).error());
        time = *received;
    }
    return node.from <= time && time < node.to;
}

bool Program::Private::sent_holds(const Node& node)
{
    bodies_.clear();
    if (auto done = candidate_->header("date", bodies_); !done) return gave_up(std::move(done).error());
    if (bodies_.empty()) return false;
    const auto date = mail::parse_sent_date(bodies_[0]);
    return date && node.from <= date->day() && date->day() < node.to;
}

bool Program::Private::header_holds(const Node& node)
{
    bodies_.clear();
    if (auto done = candidate_->header(node.name, bodies_); !done) return gave_up(std::move(done).error());
    if (node.key.empty()) return !bodies_.empty(); // RFC 9051 §6.4.4: that there is such a field is enough
    for (const std::string_view body : bodies_) {
        decoded_.clear();
        key_.clear();
        mail::decode_header_text(body, decoded_);
        mail::casemap(decoded_, key_);
        if (::memmem(key_.data(), key_.size(), node.key.data(), node.key.size())) return true;
        if (node.addresses && is_written_oddly(body) && address_holds(body, node.key)) return true;
    }
    return false;
}

// Without the comments, blanks and quotes that may stand within an address.
bool Program::Private::address_holds(std::string_view body, const std::string& key)
{
    const auto mailboxes = mail::parse_address_list(body, most_addresses);
    if (!mailboxes) return false;
    for (const auto& mailbox : *mailboxes)
        if (mail::casemap(mailbox.address.text()).find(key) != std::string::npos) return true;
    return false;
}

bool Program::Private::text_holds(const Node& node)
{
    if (!content_was_read_) {
        text_.start();
        bool all = true;
        const auto take = [&](std::string_view bytes) { return all = text_.feed(bytes); };
        if (auto done = candidate_->content(take); !done) return gave_up(std::move(done).error());
        if (all) text_.finish();
        content_was_read_ = true;
    }
    return text_.found(node.needle);
}

Program::Program(const SearchKey& key, const Situation& situation) : private_(std::make_unique<Private>(key, situation))
{}
Program::~Program() = default;
Program::Program(Program&&) noexcept = default;
Program& Program::operator=(Program&&) noexcept = default;

const Needs& Program::needs() const
{
    return private_->needs_;
}

Result<bool> Program::matches(Candidate& candidate)
{
    return private_->matches(candidate);
}

} // namespace veredus::imap
