// Line ends and quoting, and the stream of a mail out of its queue file.
#include "lib/store/content.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "lib/base/text.h"
#include "lib/mail/seven_bit.h"

namespace veredus::store {

namespace {
constexpr std::size_t block = 65'536;
constexpr std::string_view from_word = "From ";

// LF lines to CRLF ones.
std::string in_wire_form(std::string_view lines)
{
    std::string out;
    for (const char c : lines) {
        if (c == '\n') out += '\r';
        out += c;
    }
    return out;
}
}  // namespace

void LineEnds::feed(std::string_view in, std::string& out)
{
    if (in.empty()) return;
    if (cr_ && in[0] != '\n') out += '\r';
    cr_ = false;
    while (!in.empty()) {
        const std::size_t cr = in.find('\r');
        out.append(in.substr(0, cr));
        if (cr == std::string_view::npos) return;
        in.remove_prefix(cr + 1);
        if (in.empty())
            cr_ = true;
        else if (in[0] != '\n')
            out += '\r';
    }
}

void LineEnds::finish(std::string& out)
{
    if (cr_) out += '\r';
    cr_ = false;
}

void FromQuoter::feed(std::string_view in, std::string& out)
{
    while (!in.empty()) {
        if (matched_ < 0) {
            const std::size_t lf = in.find('\n');
            if (lf == std::string_view::npos) {
                out.append(in);
                return;
            }
            out.append(in.substr(0, lf + 1));
            in.remove_prefix(lf + 1);
            matched_ = 0;
        } else if (in[0] == from_word[static_cast<std::size_t>(matched_)]) {
            in.remove_prefix(1);
            if (++matched_ == static_cast<int>(from_word.size())) {
                append(out, '>', from_word);
                matched_ = -1;
            }
        } else {
            finish(out);
        }
    }
}

void FromQuoter::finish(std::string& out)
{
    if (matched_ > 0) out.append(from_word.substr(0, static_cast<std::size_t>(matched_)));
    matched_ = -1;
}

Result<Sizes> stream(const Content& content, const Sink& sink)
{
    std::string out = content.head, encoded;
    if (!out.empty() && out.back() != '\n') out += '\n';
    out += '\n';
    Sizes sizes;
    LineEnds ends;
    std::unique_ptr<mail::SevenBit> encoder;
    if (content.binary) {
        encoder = std::make_unique<mail::SevenBit>(true, mail::SevenBit::Care::binary);
        encoder->feed(in_wire_form(std::exchange(out, {})), encoded);
        ends.feed(encoded, out);
    }
    uint64_t lines = static_cast<uint64_t>(std::count(out.begin(), out.end(), '\n'));
    char last = '\n';
    std::vector<char> buffer(static_cast<std::size_t>(std::min<uint64_t>(block, content.size)));
    uint64_t done = 0;
    const auto pass_on = [&]() -> Result<void> {
        sizes.stored += out.size();
        if (!out.empty()) {
            last = out.back();
            TRY(sink(out));
        }
        out.clear();
        return {};
    };
    while (done < content.size) {
        const ssize_t n = ::pread(content.file, buffer.data(), std::min<uint64_t>(buffer.size(), content.size - done), static_cast<off_t>(content.offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno("read of the queue file");
        if (n == 0) return fail_errno("the queue file is shorter than it says", EIO);
        done += static_cast<uint64_t>(n);
        const std::size_t before = out.size();
        std::string_view piece{buffer.data(), static_cast<std::size_t>(n)};
        if (encoder) {
            encoded.clear();
            encoder->feed(piece, encoded);
            piece = encoded;
        }
        ends.feed(piece, out);
        lines += static_cast<uint64_t>(std::count(out.begin() + static_cast<std::ptrdiff_t>(before), out.end(), '\n'));
        if (out.size() >= block) TRY(pass_on());
    }
    if (encoder) {
        const std::size_t before = out.size();
        encoded.clear();
        encoder->finish(encoded);
        ends.feed(encoded, out);
        lines += static_cast<uint64_t>(std::count(out.begin() + static_cast<std::ptrdiff_t>(before), out.end(), '\n'));
    }
    ends.finish(out);
    if (out.empty() ? last != '\n' : out.back() != '\n') {
        out += '\n';
        ++lines;
    }
    TRY(pass_on());
    sizes.wire = sizes.stored + lines;
    return sizes;
}

std::string without_status_fields(std::string_view head)
{
    constexpr std::string_view fields[] = {"status", "x-status", "x-keywords", "x-uid", "x-imap", "x-imapbase", "content-length", "lines"};
    std::string out;
    bool hiding = false;
    while (!head.empty()) {
        const auto lf = head.find('\n');
        const auto line = head.substr(0, lf == std::string_view::npos ? lf : lf + 1);
        if (line == "\n" || line == "\r\n") return out.append(head);
        if (line[0] != ' ' && line[0] != '\t') {             // else it goes with the line before
            const std::string field = lower(trim(cut(line, ':').first));
            hiding = std::find(std::begin(fields), std::end(fields), field) != std::end(fields);
        }
        if (!hiding) out += line;
        head.remove_prefix(line.size());
    }
    return out;
}

Result<void> stream_mbox(const Content& content, const Sink& sink)
{
    FromQuoter quoter;
    std::string out = content.from_line;
    Content stored = content;
    stored.head = cat(without_status_fields(content.head), content.status);
    const auto streamed = stream(stored, [&](std::string_view bytes) -> Result<void> {
        quoter.feed(bytes, out);
        if (out.size() < block) return {};
        auto taken = sink(out);
        out.clear();
        return taken;
    });
    if (!streamed) return unexpected(streamed.error());
    quoter.finish(out);
    out += '\n';
    return sink(out);
}

}  // namespace veredus::store
