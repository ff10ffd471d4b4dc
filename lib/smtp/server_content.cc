// The content of a mail in an SMTP conversation: DATA up to its dot, BDAT's chunks (RFC 3030), and its end.
#include "lib/smtp/server.h"

#include <algorithm>

namespace veredus::smtp {

std::size_t Server::consume_data(std::string_view bytes, std::string& out)
{
    // One buffer for all sessions of the thread: an idle session keeps none.
    static thread_local std::string content;
    content.clear();
    const std::size_t taken = dot_.feed(bytes, content);
    give_content(content);
    if (dot_.ended()) finish_content(out);
    return taken;
}

void Server::give_content(std::string& content)
{
    const bool fits = limits_.message_size == 0 || dot_.size() <= limits_.message_size;
    if (content_open_ && fits && !content.empty()) content_open_ = delegate_.content(content);
    if (content.capacity() > 1'000'000) content = {};
}

// RFC 3030 §2: a chunk is read to its end whatever is wrong with it, and answered then.
std::size_t Server::consume_chunk(std::string_view bytes, std::string& out)
{
    static thread_local std::string content;
    content.clear();
    bytes = bytes.substr(0, static_cast<std::size_t>(std::min<uint64_t>(bytes.size(), chunk_left_)));
    chunk_left_ -= bytes.size();
    if (chunks_ == Chunks::open) {
        dot_.feed(bytes, content);
        give_content(content);
    }
    if (chunk_left_ == 0) end_chunk(out);
    return bytes.size();
}

void Server::end_chunk(std::string& out)
{
    state_ = before_chunk_;
    if (chunks_ == Chunks::open && limits_.message_size && dot_.size() > limits_.message_size) {
        chunk_refusal_ = Reply{552, "5.3.4", "Error: message file too big"};
        delegate_.refused(chunk_refusal_);
        delegate_.reset();
        chunks_ = Chunks::failed;
    }
    waiting_ = Waiting::other;
    if (chunks_ == Chunks::failed && limits_.lmtp && chunk_last_) {
        owed_ = envelope_.recipients.size();    // RFC 2033 §4.3: nobody was taken, nothing is said; a client that pipelines counts on it
        waiting_ = Waiting::end;
    }
    if (chunks_ == Chunks::failed) {
        if (state_ < State::mail) chunks_ = Chunks::none;  // there was no transaction that could have failed
        return settle(chunk_refusal_, out);
    }
    if (!chunk_last_) return settle(Reply{250, "2.0.0", "Ok"}, out);
    std::string tail;
    dot_.finish(tail);
    give_content(tail);
    finish_content(out);
}

void Server::finish_content(std::string& out)
{
    last_verb_ = "END-OF-MESSAGE";
    state_ = State::greeted;
    chunks_ = Chunks::none;
    waiting_ = Waiting::end;
    owed_ = envelope_.recipients.size();
    each_.clear();
    std::optional<Reply> refusal;
    if (limits_.message_size != 0 && dot_.size() > limits_.message_size)
        refusal = Reply{552, "5.3.4", "Error: message file too big"};
    else if (limits_.bare_lf != BareLf::normalize && dot_.saw_bare_lf()) {
        const Reply reply = bare_newline("DATA content");
        if (limits_.bare_lf == BareLf::reject) refusal = reply;
    }
    if (refusal) {
        delegate_.refused(*refusal);
        forget_transaction();
        waiting_ = Waiting::end;
        return settle(*refusal, out);
    }
    Delegate::Content facts;
    facts.size = dot_.size();
    facts.eight_bit = dot_.saw_8bit();
    facts.nul = dot_.saw_nul();
    facts.leading_dot = dot_.saw_leading_dot();
    facts.bare_lf = dot_.saw_bare();
    facts.longest_line = dot_.longest_line();
    mail::Envelope envelope = std::move(envelope_);
    envelope_ = mail::Envelope();
    envelope_.auth_user = envelope.auth_user;
    rcpt_refused_ = false;
    take(delegate_.end_of_data(facts, std::move(envelope)), out);
}

}  // namespace veredus::smtp
