#include "imapd/client.h"

#include <algorithm>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/imap/login_dialect.h"
#include "lib/log/log.h"

namespace veredus::imapd {

namespace {
constexpr int pieces_per_turn = 16;         // of a long answer to a fast client, before others have their turn
constexpr std::size_t inflated = 16 * 1024; // at a time
// A client that does not even take what we have for it ends without a word.
constexpr std::chrono::milliseconds last_chance{60'000};
} // namespace

Client::Client(House& house, ipc::Arrival arrival, Fd client)
    : house_(house), arrival_(std::move(arrival)), since_wall_(system_clock().wall_us() / us_per_second),
      last_us_(house.loop_.now_us()), stream_(house.loop_, std::move(client), *this)
{
    stream_.set_timeout(house.settings_.timeout + last_chance);
}

Client::~Client() = default;

std::string no_mailbox(std::string_view tag)
{
    return cat(tag, " NO [UNAVAILABLE] the mailbox cannot be opened now, try again later\r\n* BYE until then\r\n");
}

void Client::begin()
{
    const auto facts = imap::read_hand_over(arrival_.hand_over);
    const std::string tag(facts.tag);
    if (house_.host_.crowded(arrival_)) {
        put(cat(tag, " NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections)\r\n"
                     "* BYE close one of them first\r\n"));
        return close("Refused");
    }
    auto account = house_.account();
    if (!account) {
        log::error(house_.host_.log_prefix(arrival_),
                   "the mailbox cannot be opened: ", printable(account.error().text));
        put(no_mailbox(tag));
        return close("Refused");
    }
    if (!facts.client.empty()) log::info(house_.host_.log_prefix(arrival_), "ID sent: ", facts.client);
    session_ = std::make_unique<imap::Session>(**account, house_.settings_.session, system_clock());
    std::string out;
    session_->welcome(tag, out);
    put(out);
    const std::string input = std::exchange(arrival_.input, {});
    arrival_.hand_over = {};
    if (!input.empty()) take(input);
}

void Client::put(std::string_view bytes)
{
    if (bytes.empty()) return;
    out_ += bytes.size();
    if (!deflate_) return stream_.write(bytes);
    std::string packed;
    deflate_->pack(bytes, packed);
    stream_.write(packed);
}

void Client::on_data(std::string_view bytes)
{
    if (!closing_) take(bytes);
}

void Client::take(std::string_view bytes)
{
    last_us_ = house_.loop_.now_us();
    if (!deflate_) return feed(bytes);
    packed_ += bytes;
    unpack();
}

void Client::unpack()
{
    while (!packed_.empty() && !draining_ && !closing_ && stream_.pending() == 0) {
        std::string_view rest = packed_;
        std::string plain;
        if (!deflate_->unpack(rest, inflated, plain)) {
            part("The client's compressed stream is broken", "the compressed stream is broken");
            return;
        }
        if (plain.empty() && rest.size() == packed_.size()) break;
        packed_.erase(0, packed_.size() - rest.size());
        if (!plain.empty()) feed(plain);
    }
    if (packed_.empty()) std::string().swap(packed_);
}

void Client::feed(std::string_view bytes)
{
    in_ += bytes.size();
    std::string out;
    const Wants wants = session_->feed(bytes, out);
    act(wants, out);
}

void Client::act(Wants wants, std::string& out)
{
    put(out);
    draining_ = wants == Wants::drain;
    if (wants == Wants::close) return close(session_->logged_out() ? "Logged out" : "Disconnected by the server");
    if (wants == Wants::compress) {
        const std::string rest = session_->start_compression();
        deflate_ = std::make_unique<Deflate>();
        log::info(house_.host_.log_prefix(arrival_), "COMPRESS: deflate");
        stream_.pause_reading(false); // as it is when an answer before this one had to drain
        return take(rest);
    }
    // IDLE has no end of its own; who is gone is found by the words in between.
    if (session_->idling() != idling_) {
        idling_ = session_->idling();
        stream_.set_timeout(idling_ ? std::chrono::milliseconds(0) : house_.settings_.timeout + last_chance);
    }
    // Who does not take his answers is asked for no more commands.
    stream_.pause_reading(draining_ || stream_.pending() > 0);
    house_.worked();
    if (draining_ && stream_.pending() == 0) house_.later(arrival_.connection);
}

// A long answer goes out in pieces, as the client takes them.
void Client::go_on()
{
    if (alone_) return go_on_alone();
    for (int i = 0; i < pieces_per_turn; ++i) {
        if (closing_ || stream_.pending() > 0) return;
        if (!draining_) {
            stream_.pause_reading(false);
            if (deflate_) unpack();
            return;
        }
        std::string out;
        const Wants wants = session_->more(out);
        const bool silent = out.empty();
        if (wants != Wants::drain) {
            act(wants, out);
            if (deflate_) unpack();
            return;
        }
        put(out);
        if (silent) break; // it searches: the others' turn
    }
    house_.later(arrival_.connection);
}

void Client::on_drained()
{
    go_on();
    tell_news();
}

void Client::tell_news()
{
    if (closing_ || draining_ || stream_.pending() > 0 || !session_ || !session_->idling() || !session_->has_news())
        return;
    std::string out;
    const Wants wants = session_->tell_news(out);
    act(wants, out);
}

void Client::check_silence()
{
    const auto silent = std::chrono::microseconds(house_.loop_.now_us() - last_us_);
    if (closing_ || draining_ || idling_ || silent < house_.settings_.timeout) return;
    part("Inactivity", "disconnected for inactivity");
}

void Client::notify()
{
    if (!closing_ && !draining_ && session_ && session_->idling() && stream_.pending() == 0) put("* OK Still here\r\n");
}

void Client::part(std::string_view ended, std::string_view told)
{
    if (closing_) return;
    // In the midst of an answer there is no room for words.
    std::string out;
    if (session_ && !draining_) session_->part(told, out);
    put(out);
    close(ended);
}

void Client::close(std::string_view ended)
{
    closing_ = true;
    draining_ = false;
    ended_ = ended;
    stream_.close_after_flush();
}

void Client::on_end(net::End end, const std::string&)
{
    if (!closing_ && end == net::End::timeout) ended_ = "Inactivity";
    closing_ = alone_ = true;
    go_on_alone();
}

// Who sends CLOSE and hangs up wants his messages gone, and so does a phone that lost its network. A piece at a time, as for a
// client that is there; when the service ends, the rest stays as it is.
void Client::go_on_alone()
{
    if (left_) return;
    if (!session_ || house_.stopping_ || !session_->go_on_alone()) return leave();
    house_.worked();
    house_.later(arrival_.connection);
}

void Client::leave()
{
    left_ = true;
    const std::string prefix = house_.host_.log_prefix(arrival_);
    if (session_)
        log::info(prefix, "Disconnected: ", ended_, " in=", in_, " out=", out_, ' ', session_->tally().text());
    else
        log::info(prefix, "Disconnected: ", ended_);
    house_.forget(arrival_.connection);
}

ipc::Presence Client::presence() const
{
    ipc::Presence p;
    p.connection = arrival_.connection;
    p.remote = arrival_.remote;
    if (session_) p.folder = session_->folder();
    p.tls = !arrival_.tls.empty();
    p.since = since_wall_;
    p.idle = static_cast<uint32_t>(std::max<int64_t>(0, (house_.loop_.now_us() - last_us_) / us_per_second));
    p.in = in_;
    p.out = out_;
    return p;
}

} // namespace veredus::imapd
