// The IMAP sessions of one user, in his own process: one account, what watches its folders, and the clients.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/imap/account.h"
#include "lib/imap/session.h"
#include "lib/login/clients.h"
#include "lib/login/session.h"
#include "lib/loop/loop.h"
#include "lib/store/watch.h"

namespace veredus::imapd {

struct Settings {
    imap::SessionOptions session;
    std::vector<store::DefaultFolder> folders;
    std::chrono::milliseconds timeout{1'800'000}, notify{120'000};
    static Result<Settings> read(const conf::Values& values);
};

class Client;

class House final : public login::House {
public:
    House(Loop& loop, login::SessionHost& host, conf::Values values, Settings settings);
    ~House() override;
    void on_client(ipc::Arrival arrival, Fd client) override;
    std::vector<ipc::Presence> who() const override;
    std::size_t kick(uint64_t connection) override;
    void stop() override;
    void idle() override;

private:
    friend class Client;
    Result<imap::Account*> account();
    void forget(uint64_t connection); // after this turn
    void later(uint64_t connection);  // Client::go_on() in the next turn
    void worked();                    // some client's command may have changed something
    void spread();                    // who waits in IDLE is told
    void watch_folders();
    void look(const std::vector<int>& tokens);
    void poll();
    void retry_busy(); // folders that another program had locked
    void note_busy();

    struct Watched {
        const imap::OpenFolder* folder = nullptr;
        unsigned incarnation = 0;
        int token = 0;
    };
    Loop& loop_;
    login::SessionHost& host_;
    conf::Values values_;
    Settings settings_;
    std::unique_ptr<imap::Account> account_;
    store::Watch watch_;
    std::map<std::string, Watched> watched_; // by name of the folder
    std::unique_ptr<Watch> watch_ready_;     // after watch_ in life, before it in death
    Timer poll_, tidy_, notify_, retry_;
    bool spreading_ = false;                                        // spread() is due at the end of this turn
    bool stopping_ = false;
    login::Clients<Client> clients_;                                // before the account in death
};

} // namespace veredus::imapd
