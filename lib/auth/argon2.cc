// Argon2 as passwords are stored with it.
#include "lib/auth/argon2.h"

#include <sys/mman.h>

#include <condition_variable>
#include <mutex>

#include "config.h"
#include "lib/base/base64.h"
#include "lib/base/text.h"
#include "lib/tls/digest.h"

#ifdef VEREDUS_ARGON2
#include <argon2.h>
#endif

namespace veredus::auth {

namespace {

// The largest that Dovecot makes, and as much work as takes a machine some ten seconds.
constexpr uint32_t max_memory_kib = 1u << 20, max_passes = 1u << 20, max_lanes = 64;
constexpr uint64_t max_work_kib = 16u << 20;
constexpr std::size_t min_salt = 8, min_hash = 16, max_piece = 64;

// PHC's base64 has no padding.
std::optional<std::string> decode(std::string_view text)
{
    if (text.size() > 2 * max_piece || text.find('=') != std::string_view::npos) return std::nullopt;
    return base64_decode(cat(text, std::string((4 - text.size() % 4) % 4, '=')));
}

std::string encode(std::string_view bytes)
{
    std::string text = base64_encode(bytes);
    text.resize(text.find_last_not_of('=') + 1);
    return text;
}

// "m=65536"
std::optional<uint32_t> read_parameter(std::string_view text, char name, uint32_t most)
{
    if (text.size() < 3 || text[0] != name || text[1] != '=') return std::nullopt;
    const auto number = parse_number<uint32_t>(text.substr(2), most);
    return number && *number > 0 ? number : std::nullopt;
}

#ifdef VEREDUS_ARGON2

// A share of the memory that hashes may have at once. In the order in which they came: a large one is not passed over for ever.
class Share {
public:
    explicit Share(uint64_t bytes) : bytes_(bytes)
    {
        std::unique_lock lock(mutex);
        const uint64_t number = next_number++;
        changed.wait(lock, [&] { return number == now_served && (used == 0 || used + bytes_ <= argon2_memory_at_once); });
        ++now_served;
        used += bytes_;
        changed.notify_all();
    }
    ~Share()
    {
        const std::lock_guard lock(mutex);
        used -= bytes_;
        changed.notify_all();
    }
    Share(const Share&) = delete;

private:
    static inline std::mutex mutex;
    static inline std::condition_variable changed;
    static inline uint64_t next_number = 0, now_served = 0, used = 0;
    uint64_t bytes_;
};

// Straight from the kernel and back to it, and in no core dump.
int take_memory(uint8_t** memory, size_t bytes)
{
    void* got = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) return ARGON2_MEMORY_ALLOCATION_ERROR;
    (void)::madvise(got, bytes, MADV_DONTDUMP);
    *memory = static_cast<uint8_t*>(got);
    return ARGON2_OK;
}

void give_memory(uint8_t* memory, size_t bytes) { (void)::munmap(memory, bytes); }

uint8_t* bytes_of(std::string& s) { return reinterpret_cast<uint8_t*>(s.data()); }

#endif

}  // namespace

std::optional<Argon2> Argon2::parse(std::string_view text)
{
    const auto parts = split_on(text, '$');
    if (parts.size() != 6 || !parts[0].empty() || (parts[1] != "argon2id" && parts[1] != "argon2i") || parts[2] != "v=19") return std::nullopt;
    const auto numbers = split_on(parts[3], ',');
    if (numbers.size() != 3) return std::nullopt;
    const auto memory = read_parameter(numbers[0], 'm', max_memory_kib), passes = read_parameter(numbers[1], 't', max_passes), lanes = read_parameter(numbers[2], 'p', max_lanes);
    auto salt = decode(parts[4]), hash = decode(parts[5]);
    if (!memory || !passes || !lanes || !salt || !hash) return std::nullopt;
    if (*memory < 8 * *lanes || uint64_t{*memory} * *passes > max_work_kib) return std::nullopt;     // RFC 9106 §3.1: at least 8 * p
    if (salt->size() < min_salt || salt->size() > max_piece || hash->size() < min_hash || hash->size() > max_piece) return std::nullopt;
    return Argon2{parts[1] == "argon2id", *memory, *passes, *lanes, std::move(*salt), std::move(*hash)};
}

std::string Argon2::str() const
{
    return cat("$argon2", id ? "id" : "i", "$v=19$m=", memory_kib, ",t=", passes, ",p=", lanes, '$', encode(salt), '$', encode(hash));
}

Result<bool> Argon2::matches(std::string_view password) const
{
    const std::string made = TRY(compute(password));
    return tls::equal_time(made, hash);
}

#ifdef VEREDUS_ARGON2

Result<std::string> Argon2::compute(std::string_view password) const
{
    std::string out(hash.size(), '\0'), secret(password), grain = salt;
    argon2_context context{};
    context.out = bytes_of(out);
    context.outlen = static_cast<uint32_t>(out.size());
    context.pwd = bytes_of(secret);
    context.pwdlen = static_cast<uint32_t>(secret.size());
    context.salt = bytes_of(grain);
    context.saltlen = static_cast<uint32_t>(grain.size());
    context.t_cost = passes;
    context.m_cost = memory_kib;
    context.lanes = lanes;
    context.threads = 1;
    context.version = ARGON2_VERSION_13;
    context.allocate_cbk = take_memory;
    context.free_cbk = give_memory;
    const Share share(uint64_t{memory_kib} * 1024);
    const int code = argon2_ctx(&context, id ? Argon2_id : Argon2_i);
    tls::wipe(secret);
    if (code == ARGON2_MEMORY_ALLOCATION_ERROR) return fail(cat("no memory for an Argon2 hash of ", memory_kib, " KiB"));
    if (code != ARGON2_OK) return fail(cat("libargon2: ", std::string_view(argon2_error_message(code))));
    return out;
}

bool argon2_built_in() { return true; }

#else

Result<std::string> Argon2::compute(std::string_view) const { return fail("this veredus was built without Argon2 (configure found no libargon2-dev)"); }

bool argon2_built_in() { return false; }

#endif

}  // namespace veredus::auth
