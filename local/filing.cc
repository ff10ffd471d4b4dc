// What a filter may want beyond "into this mailbox": copies with flags, and replies.
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/text.h"
#include "lib/log/log.h"
#include "lib/mail/date.h"
#include "lib/mail/utf7.h"
#include "lib/store/mailbox.h"
#include "lib/store/maildir.h"
#include "local/placement.h"

namespace veredus::local {

namespace {

constexpr std::string_view mark = "./:2,"; // behind a path that ends in a slash
constexpr std::size_t most_keywords = 64;
constexpr struct {
    char letter;
    uint8_t flag;
} letters[] = {
    {'D', store::draft}, {'F', store::flagged}, {'R', store::answered}, {'S', store::seen}, {'T', store::deleted}};

struct Named {
    std::string root, folder; // of a Maildir++ tree
};
// ".A.B/" in a Maildir is its folder A.B; any other Maildir is an inbox.
Result<Named> name_of(std::string_view path)
{
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    const auto slash = path.rfind('/');
    const std::string root(path.substr(0, slash == std::string_view::npos ? 0 : slash));
    const std::string_view last = path.substr(slash == std::string_view::npos ? 0 : slash + 1);
    struct stat st {};
    if (!last.starts_with('.') || ::stat(cat(root, "/cur").c_str(), &st) != 0) return Named{std::string(path), "INBOX"};
    const auto name = mail::from_utf7(last.substr(1));
    if (!name) return fail(cat(std::string(path), ": not the name of a folder"));
    return Named{root, *name};
}

Result<void> append_to(store::Folder& folder, const Copy& copy, const store::Content& mail, bool with_keywords)
{
    std::vector<store::Incoming> mails(1);
    mails[0].draft = TRY(folder.draft());
    store::Draft& draft = *mails[0].draft;
    TRY(store::stream(mail, [&](std::string_view bytes) { return draft.write(bytes); }));
    mails[0].flags = copy.flags;
    if (with_keywords) mails[0].keywords = copy.keywords;
    TRY(folder.append(std::move(mails)));
    return {};
}

Result<void> file(disk::Disk& disk, const Copy& copy, const store::Content& mail)
{
    const auto maildir = TRY(store::Maildir::open(disk, copy.mailbox));
    TRY(maildir->settle_way());
    const Named named = TRY(name_of(copy.mailbox));
    const auto box = TRY(store::open_maildir(named.root));
    const auto folder = TRY(box->open(named.folder));
    auto done = append_to(*folder, copy, mail, true);
    if (done || done.error().code != ENOBUFS) return done;
    log::warning(printable(copy.mailbox), ": ", done.error().text, "; the mail is filed without its keywords");
    return append_to(*folder, copy, mail, false);
}

} // namespace

std::string copy_text(const Copy& copy)
{
    if (!copy.marked()) return copy.mailbox;
    std::string text = copy.mailbox;
    const bool maildir = text.ends_with('/');
    while (text.size() > 1 && text.ends_with('/')) text.pop_back();
    append(text, maildir ? "/" : "//", mark);
    for (const auto& [letter, flag] : letters)
        if (copy.flags & flag) text += letter;
    std::size_t n = 0;
    for (const std::string& word : copy.keywords)
        if (store::is_keyword(word) && ++n <= most_keywords) append(text, ' ', word);
    return text;
}

Copy copy_of(std::string_view text)
{
    const Copy plain{std::string(text), 0, {}};
    const auto at = text.rfind(mark);
    if (at == std::string_view::npos || at == 0 || text[at - 1] != '/') return plain;
    Copy copy{std::string(text.substr(0, at)), 0, {}};
    if (copy.mailbox.ends_with("//")) copy.mailbox.resize(copy.mailbox.size() - 2);
    const auto words = split_on(text.substr(at + mark.size()), ' ');
    for (const char c : words.front()) {
        const auto known =
            std::find_if(std::begin(letters), std::end(letters), [&](const auto& one) { return one.letter == c; });
        if (known == std::end(letters)) return plain;
        copy.flags |= known->flag;
    }
    for (std::size_t i = 1; i < words.size(); ++i) {
        if (!store::is_keyword(words[i]) || i > most_keywords) return plain;
        copy.keywords.emplace_back(words[i]);
    }
    return copy.marked() && copy.mailbox.starts_with('/') ? copy : plain;
}

store::Delivered file_marked(disk::Disk& disk, const Copy& copy, const store::Content& mail)
{
    if (auto done = file(disk, copy, mail); !done) return store::problem_of(done.error());
    return std::nullopt;
}

Result<void> SendmailOutbox::send(const Reply& reply)
{
    const auto blank = reply.text.starts_with('\n') ? 0 : reply.text.find("\n\n");
    const std::size_t head = blank == std::string::npos     ? reply.text.size()
                             : reply.text.starts_with('\n') ? 0
                                                            : blank + 1;
    const std::size_t body = std::min(head + 1, reply.text.size());
    const Fd file(::memfd_create("reply", MFD_CLOEXEC));
    if (!file) return fail_errno("a reply");
    TRY(write_all(file.get(), std::string_view(reply.text).substr(body)));
    store::Content content;
    content.from_line = cat("From MAILER-DAEMON ", mail::date_asctime(system_clock().wall_us()), '\n');
    content.head = reply.text.substr(0, head);
    content.file = file.get();
    content.size = reply.text.size() - body;
    Facts facts;
    facts.recipient = reply.to;
    const std::vector<std::string> words{program_, "-i", "-f", "<>", "--", reply.to};
    const auto verdict =
        judge(run_words(words, command_environment(person_, facts, {}, rules_.filter), rules_, content), program_);
    if (verdict.outcome != ipc::Outcome::delivered)
        return fail(cat("reply to ", printable(reply.to), ": ", verdict.text));
    return {};
}

} // namespace veredus::local
