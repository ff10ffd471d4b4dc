// The TLS of a listening role: certificates and keys read before the jail, and again when master says that a file of them changed.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "lib/conf/values.h"
#include "lib/daemon/service.h"
#include "lib/daemon/tls_files.h"
#include "lib/loop/loop.h"

namespace veredus::daemon {

class ServerTls {
public:
    explicit ServerTls(std::string prefix) : prefix_(std::move(prefix)) {}    // "smtpd": of smtpd_tls_cert_file and so on
    // Outside the jail. What is wrong is logged: mail in clear is better than none, and master will bring the mended file.
    void before_jail(const conf::Values& values, const Place& place);
    // `changed`: ready() may have another answer now.
    void start(Loop& loop, std::function<void()> changed);
    bool on_file(const std::string& name, const Fd& fd);    // of Service::on_file; true: it was for us
    void reload(const conf::Values& values);                // new files follow through on_file
    bool ready() const { return context_->ready(); }
    tls::ServerContext& context() { return *context_; }     // the same for life

private:
    void put_into_force(bool aloud);
    void look_at_clock();
    Result<std::string> text_of(const std::string& path) const;

    std::string prefix_;
    std::string config_directory_;
    bool speaks_ = true;                       // of several processes one says what all see
    std::unique_ptr<tls::ServerContext> context_ = tls::ServerContext::create();
    conf::Values values_;
    std::map<std::string, std::string> texts_;    // what was read, by path
    tls::ServerKeys keys_;                     // as they were read last
    std::vector<tls::CertificateFacts> facts_;
    std::unique_ptr<Timer> settle_, daily_;
    std::function<void()> changed_;
    std::vector<std::string> said_;            // problems that were logged, so that each is once
};

}  // namespace veredus::daemon
