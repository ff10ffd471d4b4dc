// UID logs of any bytes: loading is bounded, and what was understood comes back from a snapshot unharmed.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "lib/store/uid_appender.h"
#include "lib/store/uid_table.h"

using namespace veredus::store;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size)
{
    const std::string_view in(reinterpret_cast<const char*>(data), size);
    (void)read_log_end(in, true);
    (void)read_log_end(in, false);
    UidTable table;
    const auto loaded = table.load(in);
    if (loaded.version > uid_log_version || !loaded.has_head) return 0;
    uint32_t before = 0;
    for (const Message& m : table.messages()) {
        if (m.uid <= before || m.uid >= table.uidnext() || table.name(m).size() != m.name_size) std::abort();
        before = m.uid;
    }
    (void)table.vanished_since(0);
    UidTable again;
    const auto reloaded = again.load(table.snapshot());
    if (reloaded.damaged || again.uidnext() != table.uidnext() || again.messages().size() != table.messages().size()) std::abort();
    if (again.highest_modseq() != table.highest_modseq()) std::abort();
    // A snapshot's end says what follows it.
    const std::string snapshot = table.snapshot();
    const auto tail = std::string_view(snapshot).substr(snapshot.size() - std::min<std::size_t>(snapshot.size(), 46));
    const auto end = read_log_end(tail, false);
    if (!end || end->uidnext != table.uidnext() || end->highest_modseq != table.highest_modseq()) std::abort();
    return 0;
}
