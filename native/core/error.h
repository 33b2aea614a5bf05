// Errors of the core: a code from the same closed list as src/errors.ts, and a message that says what was
// expected, what came and what to do.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace padft {

class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  /// One of src/errors.ts's ERROR_CODES.
  const char* code() const noexcept { return code_; }

 private:
  const char* code_;
};

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
[[noreturn]] void fail(const char* code, const Parts&... parts) {
  throw Error(code, concat(parts...));
}

/// `require(n > 0, "ERR_DATA", "expected at least one row, got ", n)`: preconditions read as sentences.
template <class... Parts>
void require(bool condition, const char* code, const Parts&... parts) {
  if (!condition) fail(code, parts...);
}

}  // namespace padft
