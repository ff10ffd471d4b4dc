// Result<T>: a value or the world's refusal. The names are std::expected's, to become it one day.
#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace veredus {

// What went wrong. `code` is an errno value when the kernel said so, else 0; `text` is for the log: what failed, on
// what, and why ("open /etc/veredus/main.cf: Permission denied").
struct Error {
    int code = 0;
    std::string text;
};

struct Unexpected {
    Error error;
};

inline Unexpected unexpected(Error error) { return Unexpected{std::move(error)}; }
inline Unexpected fail(std::string text) { return Unexpected{Error{0, std::move(text)}}; }
// From errno: "WHAT: strerror". Call it before anything else can change errno.
Unexpected fail_errno(std::string what);
Unexpected fail_errno(std::string what, int code);

template <class T> class [[nodiscard]] Result {
public:
    using value_type = T;
    template <class U = T, class = std::enable_if_t<std::is_constructible_v<T, U&&> &&
                                                    !std::is_same_v<std::remove_cvref_t<U>, Result> &&
                                                    !std::is_same_v<std::remove_cvref_t<U>, Unexpected>>>
    Result(U&& value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}
    Result(Unexpected u) : state_(std::in_place_index<1>, std::move(u.error)) {}

    bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    T& value() & { return std::get<0>(state_); }
    const T& value() const& { return std::get<0>(state_); }
    T&& value() && { return std::get<0>(std::move(state_)); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }
    Error& error() & { return std::get<1>(state_); }
    const Error& error() const& { return std::get<1>(state_); }
    Error&& error() && { return std::get<1>(std::move(state_)); }
    template <class U> T value_or(U&& other) const& { return has_value() ? value() : static_cast<T>(std::forward<U>(other)); }

private:
    std::variant<T, Error> state_;
};

template <> class [[nodiscard]] Result<void> {
public:
    using value_type = void;
    Result() = default;
    Result(Unexpected u) : error_(std::move(u.error)) {}
    bool has_value() const noexcept { return !error_; }
    explicit operator bool() const noexcept { return has_value(); }
    void value() const {}
    Error& error() & { return *error_; }
    const Error& error() const& { return *error_; }
    Error&& error() && { return std::move(*error_); }

private:
    std::optional<Error> error_;
};

}  // namespace veredus

// The value of a Result, or return its error from the enclosing function.
#define TRY(expression)                                                                                               \
    __extension__({                                                                                                   \
        auto&& try_result_ = (expression);                                                                            \
        if (!try_result_) return ::veredus::unexpected(std::move(try_result_).error());                               \
        std::move(try_result_).value();                                                                               \
    })
