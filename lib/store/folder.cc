// What all kinds of folders do alike.
#include "lib/store/folder.h"

#include <cerrno>

#include "lib/base/text.h"

namespace veredus::store {

namespace {

constexpr std::size_t copy_block = 256 * 1024;

Result<std::unique_ptr<Draft>> read_into_draft(Folder& from, uint32_t uid, Folder& to)
{
    auto reader = TRY(from.open(uid));
    auto draft = TRY(to.draft());
    for (uint64_t at = 0;;) {
        const std::string piece = TRY(reader->read(at, copy_block));
        if (piece.empty()) return draft;
        TRY(draft->write(piece));
        at += piece.size();
    }
}

}  // namespace

std::vector<std::string> keywords_of(const UidTable& table, const Message& m)
{
    std::vector<std::string> out;
    for (unsigned i = 0; i < table.keywords().size(); ++i)
        if (m.keywords >> i & 1 && !table.keywords()[i].empty()) out.push_back(table.keywords()[i]);
    return out;
}

Result<std::vector<Copied>> copy_by_reading(Folder& from, const std::vector<uint32_t>& uids, Folder& to)
{
    std::vector<Incoming> mails;
    std::vector<Copied> out;
    for (const uint32_t uid : uids) {
        const Message* m = from.table().find(uid);
        if (!m) continue;
        Incoming mail;
        mail.flags = m->flags;
        mail.keywords = keywords_of(from.table(), *m);
        mail.id = m->id;
        mail.received = TRY(from.received(uid));
        auto draft = read_into_draft(from, uid, to);
        if (!draft && draft.error().code == ENOENT) continue;     // gone by now
        if (!draft) return unexpected(std::move(draft).error());
        mail.draft = std::move(*draft);
        mails.push_back(std::move(mail));
        out.push_back({uid, 0});
    }
    const std::vector<uint32_t> made = TRY(to.append(std::move(mails)));
    for (std::size_t i = 0; i < out.size(); ++i) out[i].to = made[i];
    return out;
}

Result<std::vector<Copied>> Folder::move(const std::vector<uint32_t>& uids, Folder& target)
{
    std::vector<Copied> copied = TRY(copy(uids, target));
    std::vector<uint32_t> from, to;
    for (const Copied& c : copied) {
        from.push_back(c.from);
        to.push_back(c.to);
    }
    auto gone = expunge(from);
    if (!gone) {
        (void)target.expunge(to);
        return unexpected(std::move(gone).error());
    }
    return copied;
}

}  // namespace veredus::store
