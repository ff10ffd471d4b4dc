// One datagram with its file descriptors: what message.cc and channel.cc share.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"
#include "lib/ipc/message.h"

namespace veredus::ipc {

constexpr uint16_t answer_bit = 0x8000;
constexpr std::size_t header_size = 12;

std::string encode_message(const Message& message);          // fds are the caller's business
Result<Message> decode_message(std::string_view bytes);
// False: the socket is full, try later.
Result<bool> send_datagram(int fd, std::string_view bytes, std::span<const int> fds, int flags);

struct Received {
    enum class Kind { nothing, message, closed } kind = Kind::nothing;
    std::vector<Fd> fds;
};
Result<Received> receive_datagram(int fd, std::string_view& bytes, int flags);    // the bytes are good until this thread's next call

}  // namespace veredus::ipc
