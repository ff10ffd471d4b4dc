// The client side of TLS 1.3 (RFC 8446) with one group and one cipher, for load generators on the same cores as the server that they measure:
// a full handshake costs it one X25519 and some hashes, a sixth of what OpenSSL's client takes, so that the figures tell of the server.
// NOT FOR ANYTHING ELSE: it believes any certificate, and it shows the same key share to all servers for as long as it runs. The server
// notices nothing of that, and does all the work of a full handshake: own key share, certificate, signature, tickets.
// Bytes in, bytes out: no fd.
#pragma once

#define OPENSSL_SUPPRESS_DEPRECATED // SHA256_Init and its kin look nothing up by name
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace lean {

using Secret = std::array<unsigned char, 32>;

inline std::string_view view(const Secret& secret) { return {reinterpret_cast<const char*>(secret.data()), secret.size()}; }
inline void add(SHA256_CTX& hash, std::string_view bytes) { SHA256_Update(&hash, bytes.data(), bytes.size()); }

inline Secret result(SHA256_CTX hash) // a copy: it can go on
{
    Secret out;
    SHA256_Final(out.data(), &hash);
    return out;
}

// RFC 2104; no key here is longer than a block.
inline Secret hmac(const Secret& key, std::string_view text)
{
    unsigned char pad[64];
    SHA256_CTX inner, outer;
    for (std::size_t i = 0; i < sizeof pad; ++i) pad[i] = (i < key.size() ? key[i] : 0) ^ 0x36;
    SHA256_Init(&inner);
    SHA256_Update(&inner, pad, sizeof pad);
    add(inner, text);
    for (unsigned char& c : pad) c ^= 0x36 ^ 0x5c;
    SHA256_Init(&outer);
    SHA256_Update(&outer, pad, sizeof pad);
    add(outer, view(result(inner)));
    return result(outer);
}

// RFC 8446 §7.1: HKDF-Expand-Label, of 32 bytes, whose beginning is what a shorter one would be but for its length.
inline Secret expand(const Secret& secret, std::string_view label, std::string_view context, unsigned char size = 32)
{
    std::string info = {0, static_cast<char>(size), static_cast<char>(label.size() + 6)};
    info.append("tls13 ").append(label);
    info += static_cast<char>(context.size());
    info.append(context) += '\1';
    return hmac(secret, info);
}

class Client {
public:
    Client() : sealing_(EVP_CIPHER_CTX_new()), opening_(EVP_CIPHER_CTX_new())
    {
        if (EVP_EncryptInit_ex(sealing_, aes(), nullptr, nullptr, nullptr) != 1 || EVP_DecryptInit_ex(opening_, aes(), nullptr, nullptr, nullptr) != 1) std::abort();
    }
    Client(const Client&) = delete;
    ~Client()
    {
        EVP_CIPHER_CTX_free(sealing_);
        EVP_CIPHER_CTX_free(opening_);
    }

    // A new connection; what it says first goes to `out`.
    void begin(std::string& out)
    {
        state_ = State::hello;
        input_.clear();
        messages_.clear();
        SHA256_Init(&transcript_);
        const std::string hello = client_hello();
        add(transcript_, hello);
        out.append("\x16\x03\x01", 3);
        put_size(out, hello.size());
        out += hello;
    }
    // Bytes of the server: content is appended to `plain`, what has to be sent to `out`. False: see error().
    bool feed(std::string_view bytes, std::string& plain, std::string& out)
    {
        input_.append(bytes);
        std::size_t at = 0;
        while (input_.size() - at >= 5) {
            if (input_[at + 1] != 3) return fail("the server does not speak TLS"); // the version's first byte, in every record (§5.1)
            const std::size_t size = number(&input_[at + 3], 2);
            if (size > 16384 + 256) return fail("a record that is too long");
            if (input_.size() - at < 5 + size) break;
            if (!record(&input_[at], size, plain, out)) return false;
            at += 5 + size;
        }
        input_.erase(0, at);
        return true;
    }
    bool ready() const { return state_ == State::open; }
    const char* error() const { return error_; }
    void seal(std::string_view plain, std::string& out)
    {
        for (; !plain.empty(); plain.remove_prefix(std::min<std::size_t>(plain.size(), 16384))) seal_record(plain.substr(0, 16384), 23, out);
    }

private:
    enum class State { hello, flight, open };
    struct Keys { // of one direction
        unsigned char iv[12];
        uint64_t count = 0;
    };
    static constexpr std::size_t tag_size = 16;

    static const EVP_CIPHER* aes()
    {
        static const EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr);
        return cipher;
    }
    struct Share { // for all connections
        EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519");
        std::string shown = std::string(32, '\0');
        Share()
        {
            std::size_t size = shown.size();
            if (!key || EVP_PKEY_get_raw_public_key(key, reinterpret_cast<unsigned char*>(shown.data()), &size) != 1) std::abort();
        }
    };
    static const Share& share()
    {
        static const Share made;
        return made;
    }

    bool fail(const char* why)
    {
        error_ = why;
        return false;
    }
    static std::size_t number(const char* bytes, int size)
    {
        std::size_t out = 0;
        for (int i = 0; i < size; ++i) out = out << 8 | static_cast<unsigned char>(bytes[i]);
        return out;
    }
    static void put_size(std::string& out, std::size_t size)
    {
        out += static_cast<char>(size >> 8);
        out += static_cast<char>(size);
    }

    // RFC 8446 §4.1.2, with what an ordinary client shows: it takes tickets (psk_key_exchange_modes), ECDSA and RSA certificates.
    static std::string client_hello()
    {
        std::string random(32, '\0');
        if (RAND_bytes(reinterpret_cast<unsigned char*>(random.data()), 32) != 1) std::abort();
        std::string extensions("\0\x2b\0\3\2\3\4" "\0\x0a\0\4\0\2\0\x1d" "\0\x0d\0\x0a\0\x08\4\3\x08\4\x08\5\4\1" "\0\x2d\0\2\1\1" "\0\x33\0\x26\0\x24\0\x1d\0\x20", 45);
        extensions += share().shown;
        std::string body("\3\3", 2);
        body += random;
        body.append("\0\0\2\x13\1\1\0", 7); // no session, TLS_AES_128_GCM_SHA256, no compression
        put_size(body, extensions.size());
        body += extensions;
        std::string out("\1\0", 2);
        put_size(out, body.size());
        return out + body;
    }

    bool record(char* head, std::size_t size, std::string& plain, std::string& out)
    {
        char* const bytes = head + 5;
        switch (head[0]) {
        case 20: return true; // change_cipher_spec says nothing here (§5)
        case 21: return fail("an alert in clear");
        case 22: return state_ == State::hello ? handshake({bytes, size}, out) : fail("a message in clear");
        case 23: break;
        default: return fail("a record of an unknown type");
        }
        if (state_ == State::hello || size < tag_size + 1 || !open_record(head, size)) return fail("a record that cannot be decrypted");
        size -= tag_size;
        while (size > 0 && bytes[size - 1] == 0) --size; // padding
        if (size == 0) return fail("a record without a type");
        const std::string_view content(bytes, size - 1);
        switch (bytes[size - 1]) {
        case 21: return true; // close_notify: the connection ends by itself
        case 22: return state_ == State::open || handshake(content, out); // a ticket, that nobody will use
        case 23: plain.append(content); return true;
        default: return fail("content of an unknown type");
        }
    }

    bool handshake(std::string_view bytes, std::string& out)
    {
        messages_.append(bytes);
        while (messages_.size() >= 4) {
            const std::size_t size = 4 + number(&messages_[1], 3);
            if (messages_.size() < size) return true;
            const std::string message = messages_.substr(0, size);
            messages_.erase(0, size);
            if (!take(message, out)) return false;
        }
        return true;
    }

    bool take(const std::string& message, std::string& out)
    {
        if (state_ == State::hello) return message[0] == 2 ? server_hello(message) : fail("no ServerHello");
        if (message[0] == 20) return finished(message, out);
        add(transcript_, message); // extensions, certificate, its proof: a load generator has no doubts
        return message[0] == 8 || message[0] == 11 || message[0] == 15 || fail("an unexpected handshake message");
    }

    bool server_hello(const std::string& message)
    {
        std::size_t at = 4 + 2 + 32;
        if (message.size() < at + 1) return fail("a short ServerHello");
        at += 1 + number(&message[at], 1) + 3 + 2;
        for (; at + 4 <= message.size(); at += 4 + number(&message[at + 2], 2)) {
            if (number(&message[at], 2) != 0x33) continue;
            if (at + 8 + 32 > message.size() || number(&message[at + 4], 2) != 0x1d) break;
            add(transcript_, message);
            return derive(std::string_view(message).substr(at + 8, 32));
        }
        return fail("no key share of X25519: no TLS 1.3, or it wants another group");
    }

    // §7.1, down to the keys of the handshake.
    bool derive(std::string_view shown)
    {
        Secret shared;
        std::size_t size = shared.size();
        EVP_PKEY* peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, reinterpret_cast<const unsigned char*>(shown.data()), shown.size());
        EVP_PKEY_CTX* exchange = EVP_PKEY_CTX_new(share().key, nullptr);
        const bool good = peer && exchange && EVP_PKEY_derive_init(exchange) == 1 && EVP_PKEY_derive_set_peer_ex(exchange, peer, 0) == 1 &&
                          EVP_PKEY_derive(exchange, shared.data(), &size) == 1;
        EVP_PKEY_CTX_free(exchange);
        EVP_PKEY_free(peer);
        if (!good) return fail("a bad key share");
        static const Secret none{};
        SHA256_CTX empty;
        SHA256_Init(&empty);
        static const Secret nothing = result(empty), early = expand(hmac(none, view(none)), "derived", view(nothing));
        const Secret secret = hmac(early, view(shared)), heard = result(transcript_);
        master_ = hmac(expand(secret, "derived", view(nothing)), view(none));
        client_ = expand(secret, "c hs traffic", view(heard));
        server_ = expand(secret, "s hs traffic", view(heard));
        state_ = State::flight;
        return use(sealing_, sealing_keys_, client_) && use(opening_, opening_keys_, server_);
    }

    bool finished(const std::string& message, std::string& out)
    {
        const Secret proof = hmac(expand(server_, "finished", ""), view(result(transcript_)));
        if (std::string_view(message).substr(4) != view(proof)) return fail("a wrong Finished");
        add(transcript_, message);
        const Secret heard = result(transcript_);
        std::string ours("\x14\0\0\x20", 4);
        ours += view(hmac(expand(client_, "finished", ""), view(heard)));
        seal_record(ours, 22, out);
        state_ = State::open;
        return use(sealing_, sealing_keys_, expand(master_, "c ap traffic", view(heard))) && use(opening_, opening_keys_, expand(master_, "s ap traffic", view(heard)));
    }

    bool use(EVP_CIPHER_CTX* cipher, Keys& keys, const Secret& secret)
    {
        const Secret key = expand(secret, "key", "", 16), iv = expand(secret, "iv", "", 12);
        std::memcpy(keys.iv, iv.data(), sizeof keys.iv);
        keys.count = 0;
        return EVP_CipherInit_ex(cipher, nullptr, nullptr, key.data(), nullptr, -1) == 1 || fail("AES");
    }
    // §5.3
    static void nonce(Keys& keys, unsigned char (&out)[12])
    {
        std::memcpy(out, keys.iv, sizeof out);
        for (int i = 0; i < 8; ++i) out[11 - i] ^= static_cast<unsigned char>(keys.count >> 8 * i);
        ++keys.count;
    }

    void seal_record(std::string_view content, char type, std::string& out)
    {
        const std::size_t begin = out.size(), size = content.size() + 1;
        out.append("\x17\3\3", 3);
        put_size(out, size + tag_size);
        out.append(content) += type;
        out.append(tag_size, '\0');
        auto* bytes = reinterpret_cast<unsigned char*>(out.data() + begin);
        unsigned char iv[12];
        nonce(sealing_keys_, iv);
        int n = 0;
        if (EVP_EncryptInit_ex(sealing_, nullptr, nullptr, nullptr, iv) != 1 || EVP_EncryptUpdate(sealing_, nullptr, &n, bytes, 5) != 1 ||
            EVP_EncryptUpdate(sealing_, bytes + 5, &n, bytes + 5, static_cast<int>(size)) != 1 || EVP_EncryptFinal_ex(sealing_, bytes + 5 + size, &n) != 1 ||
            EVP_CIPHER_CTX_ctrl(sealing_, EVP_CTRL_AEAD_GET_TAG, tag_size, bytes + 5 + size) != 1)
            std::abort();
    }

    // In place.
    bool open_record(char* head, std::size_t size)
    {
        auto* bytes = reinterpret_cast<unsigned char*>(head);
        unsigned char iv[12];
        nonce(opening_keys_, iv);
        int n = 0;
        const std::size_t content = size - tag_size;
        return EVP_DecryptInit_ex(opening_, nullptr, nullptr, nullptr, iv) == 1 && EVP_DecryptUpdate(opening_, nullptr, &n, bytes, 5) == 1 &&
               EVP_DecryptUpdate(opening_, bytes + 5, &n, bytes + 5, static_cast<int>(content)) == 1 &&
               EVP_CIPHER_CTX_ctrl(opening_, EVP_CTRL_AEAD_SET_TAG, tag_size, bytes + 5 + content) == 1 && EVP_DecryptFinal_ex(opening_, bytes + 5 + content, &n) == 1;
    }

    State state_ = State::hello;
    SHA256_CTX transcript_{};
    Secret master_{}, client_{}, server_{};
    EVP_CIPHER_CTX *sealing_, *opening_;
    Keys sealing_keys_, opening_keys_;
    std::string input_, messages_; // a record, a handshake message that is not complete yet
    const char* error_ = "nothing";
};

} // namespace lean
