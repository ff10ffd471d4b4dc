// A mail file of any bytes: what is accepted lies within the file, sums right, and reads back the same.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "lib/base/crc32c.h"
#include "lib/queue/codec.h"
#include "lib/queue/file.h"

using namespace veredus;
using namespace veredus::queue;

namespace {

// Sums that a fuzzer cannot guess are made right, so that it gets past them.
std::string summed(std::string file)
{
    if (file.size() < end_size + file_start_size) return file;
    const std::size_t end = file.size() - end_size;
    const auto header = Reader(std::string_view(file).substr(end + 24)).integer<uint64_t>();
    if (header < file_start_size || header > end) return file;
    std::string crc;
    put_int(crc, crc32c(0, std::string_view(file).substr(file_start_size, static_cast<std::size_t>(header) - file_start_size)));
    file.replace(end + 56, 4, crc);
    crc.clear();
    put_int(crc, crc32c(0, std::string_view(file).substr(static_cast<std::size_t>(header), file.size() - 8 - static_cast<std::size_t>(header))));
    file.replace(end + 64, 4, crc);
    return file;
}

void judge(const std::string& file)
{
    const Fd fd(::memfd_create("fuzz", MFD_CLOEXEC));
    if (!write_all(fd.get(), file)) std::abort();
    const auto mail = read_mail_file(disk::posix_disk(), fd, true);
    if (!mail) return;
    const Layout& l = mail->layout;
    if (l.body_offset + l.body_size != l.header_offset || l.header_offset + l.header_size != l.envelope_offset ||
        l.envelope_offset + l.envelope_size + end_size != file.size())
        std::abort();
    const auto header = read_header(fd, l, 1 << 20);
    if (header && *header != file.substr(static_cast<std::size_t>(l.header_offset), static_cast<std::size_t>(l.header_size))) std::abort();
    if (mail->envelope.recipients.empty() || !check_envelope(mail->envelope)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string in(reinterpret_cast<const char*>(data), size);
    judge(in);
    judge(summed(in));
    return 0;
}
