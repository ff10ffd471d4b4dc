#include "qmgr/destination.h"

#include <algorithm>

#include "lib/base/text.h"

namespace veredus::qmgr {

void Window::succeeded(unsigned in_flight)
{
    if (dead_ || probing_) size_ = initial_;
    dead_ = probing_ = false;
    proven_ = true;
    failed_in_row_ = 0;
    if (in_flight >= size_ && size_ < limit_) ++size_;
}

bool Window::failed()
{
    ++failed_in_row_;
    const bool hopeless = !proven_ || probing_ || failed_in_row_ >= size_;
    if (size_ > 1) --size_;
    if (hopeless) {
        dead_ = true;
        probing_ = false;
        proven_ = false;
    }
    return hopeless;
}

void Window::probe()
{
    dead_ = false;
    probing_ = true;
}

void Window::revive()
{
    if (!dead_ && !probing_) return;
    dead_ = probing_ = false;
    failed_in_row_ = 0;
    size_ = initial_;
}

void Window::set_limit(unsigned limit)
{
    limit_ = limit;
    initial_ = std::min(initial_, limit);
    size_ = std::min(size_, limit);
}

std::string destination_key(std::string_view transport, std::string_view nexthop)
{
    return cat(transport, ':', lower(nexthop));
}

uint32_t destination_hash(std::string_view key)
{
    uint64_t h = 0xcbf29ce484222325u;   // FNV-1a, folded
    for (const char c : key) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    const uint32_t folded = static_cast<uint32_t>(h ^ (h >> 32));
    return folded ? folded : 1;
}

}  // namespace veredus::qmgr
