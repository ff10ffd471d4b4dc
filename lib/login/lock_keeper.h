// The dotlock of an mbox that lies among those of other users of the same uid. The session gives that directory up, and could make none in it;
// whoever writes to the mbox with dotlocks alone, as procmail and mutt can, would not be kept out.
#pragma once

#include <memory>
#include <string>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/store/mbox.h"

namespace veredus::login {

// Forked before the session is confined, a process keeps the right to lock this one file, and hears nothing but to do it, to undo it and
// to make the file. It ends with the session, and its lock with it.
class LockKeeper final : public store::MboxKeeper {
public:
    // Errors: no process can be had.
    static Result<std::shared_ptr<LockKeeper>> start(const std::string& mbox);
    Result<bool> lock() override;
    void unlock() override;
    Result<void> create() override;
    bool has_ended() const;                      // killed, say: none can be started any more
    int channel() const { return channel_.get(); } // readable: an answer, or has_ended()

private:
    enum class Act : char { lock = 'l', unlock = 'u', create = 'c' };
    LockKeeper(std::string mbox, Fd channel) : mbox_(std::move(mbox)), channel_(std::move(channel)) {}
    [[noreturn]] static void serve(int channel, const std::string& mbox);
    Result<bool> ask(Act act);
    std::string mbox_;
    Fd channel_;
};

} // namespace veredus::login
