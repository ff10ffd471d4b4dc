// A mail's content on its way to a peer: read through the fd that qmgr gave, never whole in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/net/stream.h"
#include "lib/queue/file.h"
#include "lib/smtp/dot.h"
#include "smtp-client/rework.h"

namespace veredus::smtp_client {

class Content {
public:
    // Checks the layout against the file again: qmgr's word is good, ours is checked (design.md §1).
    // `delivered_to` goes on top: whoever forwarded the mail knows it again when it comes back.
    // `binary`: the body came by BINARYMIME; nothing is added to it.
    static Result<Content> open(Fd file, const queue::Layout& layout, std::string_view delivered_to = {}, bool binary = false);
    uint64_t size() const { return header_.size() + 2 + layout_.body_size; }
    uint64_t chunk_size() const { return header_.size() + 2 + layout_.body_size + (ends_line_ ? 0 : 2); } // as BDAT sends it
    bool header_is_ascii() const { return is_ascii(header_); }
    const std::string& header() const { return header_; } // in CRLF form, without the blank line
    void set_header(std::string header);
    void fold_header(std::size_t limit); // bytes of a line
    bool may_pass(std::size_t limit) const { return limit < queue::usual_line ? layout_.body_size > limit : layout_.longest_line > limit; } // a line of the body
    // How the next transaction changes it as it goes out; its size, and chunk_size(), are those without.
    // Which 7-bit form keeps every byte of a binary body; nothing when none does. Reads all of it; an Error: it could not be read.
    Result<std::optional<ReworkPlan>> seven_bit_plan() const;
    void set_plan(ReworkPlan plan) { plan_ = std::move(plan); }

private:
    friend class ContentSender;
    Content(Fd file, queue::Layout layout) : file_(std::move(file)), layout_(layout) {}
    Fd file_;
    queue::Layout layout_;
    std::string header_; // without the blank line
    bool leading_dot_ = false;
    bool ends_line_ = true; // the body ends with CRLF, or is empty
    ReworkPlan plan_;
    std::string end_; // what ends DATA after the body: CRLF when the last line lacks it, then ".CRLF"
};

// Writes a content to a stream in DATA form, or as the one chunk of BDAT (RFC 3030). step() when made, and again whenever the stream drained.
class ContentSender {
public:
    ContentSender(const Content& content, bool chunk) : content_(content), chunk_(chunk) {}
    enum class Step { more, queued, failed }; // queued: all is given to the stream, which may still hold some
    Step step(net::Stream& stream);

private:
    Step plain(net::Stream& stream);
    Step stuffed(net::Stream& stream);
    Step reworked(net::Stream& stream);
    const Content& content_;
    bool chunk_;
    smtp::DotWriter writer_;
    std::unique_ptr<Rework> rework_;
    uint64_t sent_ = 0; // of the body
    bool started_ = false;
};

} // namespace veredus::smtp_client
