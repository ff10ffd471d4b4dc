// A connection in the loop: buffered, with time-outs, optional TLS, and files sent without copying.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "lib/loop/loop.h"
#include "lib/net/address.h"
#include "lib/tls/tls.h"

namespace veredus::net {

// tls_failed: the handshake. tls_broken: later, an alert of the peer or a record that is none; `why` says which.
enum class End { eof, timeout, error, tls_failed, tls_broken };

// What a stream tells its owner. The owner may destroy the stream inside any of these calls.
class StreamUser {
public:
    virtual ~StreamUser() = default;
    virtual void on_data(std::string_view bytes) = 0;        // all of it is the user's: it keeps what it needs
    virtual void on_end(End end, const std::string& why) = 0;   // once; nothing follows
    virtual void on_drained() {}                             // the output buffer fell empty
    virtual void on_secure() {}                              // the TLS handshake is done
};

class Stream {
public:
    Stream(Loop& loop, Fd fd, StreamUser& user);             // connected already
    ~Stream();
    Stream(const Stream&) = delete;
    void write(std::string_view bytes);                      // tries at once, keeps the rest; bounded by the user via pending()
    // Sends `size` bytes of `file` from `offset` after what is buffered (sendfile, under TLS too where the kernel encrypts, else read and written); then on_drained.
    // The fd is duplicated. A read error or a short file ends the stream with End::error.
    void send_file(int file, uint64_t offset, uint64_t size);
    std::size_t pending() const;                             // bytes not yet taken by the kernel
    void pause_reading(bool paused);
    // The time-out ends the stream when no byte arrived (or left, while output is pending) for that long; 0 is none.
    void set_timeout(std::chrono::milliseconds idle);
    void restart_timeout();
    Result<void> start_tls_server(tls::ServerContext& context);
    Result<void> start_tls_client(tls::ClientContext& context, const std::string& host, const std::string& cache_key);
    Result<void> start_tls_client(tls::ClientContext& context, const tls::ClientPolicy& policy, const std::string& cache_key);
    const tls::Session* tls() const;
    void close_after_flush();                                // no more reading; closes when drained; then on_end(eof)
    int fd() const;

private:
    struct Private;
    std::shared_ptr<Private> private_;     // shared_ptr: the owner may destroy the stream inside a callback
};

// Connects without blocking. The callback gets the fd or the error (errno code kept: ECONNREFUSED, ETIMEDOUT …). Destroying the
// Connector cancels.
class Connector {
public:
    Connector(Loop& loop, const Address& to, const Address* bind_to, std::chrono::milliseconds timeout, std::function<void(Result<Fd>)> done);
    ~Connector();
    Connector(const Connector&) = delete;

private:
    struct Private;
    std::shared_ptr<Private> private_;     // shared_ptr: as above
};

// Accepts on an inherited listener: up to a batch per turn; on EMFILE it pauses a moment and says so in the log.
class Acceptor {
public:
    Acceptor(Loop& loop, Fd listener, std::function<void(Fd, Address)> accepted);
    ~Acceptor();
    Acceptor(const Acceptor&) = delete;
    void pause(bool paused);

private:
    struct Private;
    std::unique_ptr<Private> private_;
};

}  // namespace veredus::net
